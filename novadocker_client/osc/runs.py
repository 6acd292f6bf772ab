# SPDX-License-Identifier: Apache-2.0
"""Commands that begin runs, list them, follow them, approve their batches and stop them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from novadocker_client import again, events, hosts, meanings
from novadocker_client.errors import BadInput, ClientError
from novadocker_client.osc import base, follow, inputs, result
from novadocker_client.runs import Run, Runs

# Characters of a run's message in a table of runs; `run show` has all of it.
_MESSAGE = 60


class _Run(base.ShowOne):
    """A command that ends with a run."""

    def show(self, parsed_args: argparse.Namespace, run: Run, *, full: bool = True) -> Any:
        """Return the fields of a run, after its report was printed or written."""
        result.write(run, parsed_args.report)
        if parsed_args.formatter == "table":
            result.show(run.report, self.app.stdout)
        return result.fields(run, formatter=parsed_args.formatter, full=full)

    def follow(self, parsed_args: argparse.Namespace, run: Run) -> Run:
        """Return a run when it has ended, or nobody waits for it any more."""
        run, self.exit_code = follow.until_it_ends(Runs(self.cloud), run, parsed_args.timeout)
        return run


def _waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        help="Do not wait longer; the run goes on, and the exit code is 124.",
    )


class Start(_Run):
    """A command that begins a run.

    :cvar workflow: that it runs
    :cvar otherwise: inputs that it takes other than by their options
    """

    workflow = ""
    otherwise: tuple[str, ...] = ()

    def get_description(self) -> str:
        """Return what the workflow does."""
        return meanings.WORKFLOWS[self.workflow].meaning

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--wait",
            action="store_true",
            help="Show how far it has come until it ends; --report does so as well. Exit code: 0 "
            "done or unchanged, 1 failed or some hosts are not as asked for, 2 refused, 3 drift "
            "or findings, "
            "4 stopped.",
        )
        parser.add_argument(
            "--description", default="", metavar="TEXT", help="Why it is run; shown with the run."
        )
        _waiting(parser)
        result.add_options(parser)
        inputs.add_options(parser, self.workflow, self.otherwise)
        return parser

    def given(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return the inputs of the run."""
        return inputs.given(parsed_args, self.workflow)

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Begin the run, and wait for it where that was asked for."""
        result.require_writable(parsed_args.report)
        given = self.given(parsed_args)
        run = Runs(self.cloud).start(self.workflow, given, description=parsed_args.description)
        if parsed_args.wait or parsed_args.report:
            run = self.follow(parsed_args, run)
        else:
            base.tell(follow.how_to_follow(run.id))
        return self.show(parsed_args, run, full=False)


class _Again(Start):
    """A command that can be run again for the hosts that failed."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--failed-of",
            metavar="RUN",
            help="Only the hosts that failed in this earlier run, with its inputs; an option wins "
            "over what it was given.",
        )
        return parser

    def given(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return the inputs of the run, those of the earlier one below those that are given."""
        given = super().given(parsed_args)
        if not parsed_args.failed_of:
            return given
        if "hosts" in given:
            raise BadInput(
                "failed_of", "hosts are given as well, and say another thing.", "Give one of them."
            )
        earlier = Runs(self.cloud).get(parsed_args.failed_of)
        given = {**again.failed_inputs(earlier, self.workflow), **given}
        base.tell(f"Again, as they failed in {earlier.id}: {events.names(given['hosts'])}.")
        return given


class Plan(Start):
    """Show what deploy would do."""

    workflow = "plan"


class Deploy(_Again):
    """Turn compute hosts into Docker hypervisors."""

    workflow = "deploy"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--plan",
            metavar="RUN",
            help="Do what this run of plan has shown, and nothing else: its inputs and its digest.",
        )
        return parser

    def given(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return the inputs of the run, those of a plan below those that are given."""
        if parsed_args.plan and parsed_args.failed_of:
            raise BadInput(
                "failed_of", "a plan is given as well, and says another thing.", "Give one of them."
            )
        given = super().given(parsed_args)
        if parsed_args.plan:
            given = {**again.deploy_inputs(Runs(self.cloud).get(parsed_args.plan)), **given}
        return given


class Upgrade(Deploy):
    """Bring Docker hypervisors to this release's driver."""

    otherwise = (
        *("match", "if_none_match", "images", "docker", "aggregate"),
        *("phase", "upgrade"),
    )

    def get_description(self) -> str:
        """Return what it does: a deploy of the driver alone, on Docker hypervisors."""
        return (
            "Bring the driver of all Docker hypervisors, or of those that are selected, to this "
            "release's, batch by batch, with the restart of nova-compute that loads it. Instances "
            "live on; images and engines stay as they are."
        )

    def given(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return the inputs of the run.

        :raises BadInput: when the run that they are to be of is none of an upgrade
        """
        given = super().given(parsed_args)
        earlier = parsed_args.plan or parsed_args.failed_of
        if earlier and not given.get("upgrade"):
            raise BadInput(
                "plan" if parsed_args.plan else "failed_of",
                f"{earlier} is no run of an upgrade.",
                "`openstack docker plan --upgrade` makes a plan of one; `openstack docker deploy` "
                "takes others.",
            )
        return {**given, "upgrade": True}


class Undeploy(_Again):
    """Give compute hosts back as they were."""

    workflow = "undeploy"


class Precheck(Start):
    """Find what would keep hosts from being converted."""

    workflow = "precheck"


class Recover(Start):
    """Take up what lost runs have left."""

    workflow = "recover"


class Verify(Start):
    """Tell which hosts have drifted."""

    workflow = "verify"


class PreloadImages(Start):
    """Publish images and have hosts fetch them."""

    workflow = "preload_images"
    otherwise: tuple[str, ...] = ("images", "preload")

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "images", nargs="*", metavar="IMAGE", help=meanings.INPUTS["images"].meaning
        )
        return parser

    def given(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return the inputs of the run."""
        given = super().given(parsed_args)
        return {**given, "images": parsed_args.images} if parsed_args.images else given


class PublishImages(PreloadImages):
    """Publish images, and leave hosts alone."""

    otherwise = (*PreloadImages.otherwise, *meanings.SELECTING, "aggregate")

    def get_description(self) -> str:
        """Return what it does: the first part of a preload."""
        return (
            "Publish Docker images in Glance: the engine of a controller pulls them from their "
            "registry and uploads them. What is there already, by its digest, is not published "
            "again. No compute host is asked; one that boots such an image fetches it then, or "
            "`openstack docker image preload` has it do so before."
        )

    def given(self, parsed_args: argparse.Namespace) -> dict[str, Any]:
        """Return the inputs of the run."""
        return {**super().given(parsed_args), "preload": False}


class List(base.Lister):
    """List runs, the newest first."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("--workflow", choices=tuple(meanings.WORKFLOWS), help="Only its runs.")
        parser.add_argument(
            "--limit", type=int, default=20, metavar="NUMBER", help="How many. Default: 20."
        )
        parser.add_argument(
            "--marker", default="", metavar="RUN", help="Begin after this run, with older ones."
        )
        parser.add_argument(
            "--all-projects", action="store_true", help="Those of other projects as well."
        )
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the runs."""
        manager, everywhere = Runs(self.cloud), parsed_args.all_projects
        page = manager.list(
            limit=parsed_args.limit,
            workflow=parsed_args.workflow or "",
            all_projects=everywhere,
            marker=parsed_args.marker,
        )
        page = list(manager.with_waits(page, all_projects=everywhere))
        columns = ("ID", "Workflow", "State", "Started", "Description", "Message")
        return columns, [
            (
                run.id,
                run.workflow,
                run.outcome,
                base.local(run.created_at),
                base.plain(run.description),
                base.shortened(base.plain(run.message), parsed_args, _MESSAGE),
            )
            for run in page
        ]


class _OneRun(_Run):
    """A command about one run."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _run_argument(parser)
        result.add_options(parser)
        return parser


class Show(_OneRun):
    """Show a run with its report."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the run."""
        result.require_writable(parsed_args.report)
        runs_of_cloud = Runs(self.cloud)
        run = runs_of_cloud.waiting(runs_of_cloud.get(parsed_args.run))
        return self.show(parsed_args, run)


class Watch(_OneRun):
    """Show how far a run has come until it ends, with the exit codes of --wait."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        _waiting(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Return the run when it has ended."""
        result.require_writable(parsed_args.report)
        run = self.follow(parsed_args, Runs(self.cloud).get(parsed_args.run))
        return self.show(parsed_args, run, full=False)


class Approve(_OneRun):
    """Let a run go on that waits between two batches: its next one is approved."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--wait", action="store_true", help="Show how it goes on until it ends."
        )
        _waiting(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Approve the batch."""
        result.require_writable(parsed_args.report)
        run = Runs(self.cloud).approve(parsed_args.run)
        if run.hold:
            base.tell(f"Batch {run.hold.batch} is approved: the run goes on within a minute.")
        if parsed_args.wait or parsed_args.report:
            run = self.follow(parsed_args, run)
        return self.show(parsed_args, run, full=False)


class Stop(_OneRun):
    """Ask a run to stop: it ends what its hosts are at, and begins nothing more."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "--now",
            action="store_true",
            help="End it where it is: its hosts stay as they are, some of them out of service, "
            "until `openstack docker recover` takes them up.",
        )
        parser.add_argument(
            "--wait", action="store_true", help="Show how it ends; the exit code is 4 then."
        )
        _waiting(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        """Stop the run."""
        result.require_writable(parsed_args.report)
        if parsed_args.now:
            return self.show(parsed_args, self._cancel(parsed_args.run), full=False)
        run = Runs(self.cloud).ask_to_stop(parsed_args.run)
        if parsed_args.wait or parsed_args.report:
            run = self.follow(parsed_args, run)
        elif not run.ended:
            base.tell(f"It ends with what is under way. {follow.how_to_follow(run.id)}")
        return self.show(parsed_args, run, full=False)

    def _cancel(self, run_id: str) -> Run:
        """End the run where it is, and say which hosts it leaves out of service."""
        run = Runs(self.cloud).stop(run_id)
        try:
            left = hosts.disabled_by(self.cloud, run.id)
        except ClientError as err:
            base.tell(f"Which hosts it has left out of service is not known: {err}")
        else:
            if left:
                base.tell(
                    f"Out of service because of it: {events.names(left)}. "
                    "Deploy or undeploy them again, or recover them, to have them in service."
                )
        return run


class Logs(base.Command):
    """Show what happened in a run, a line an event, and where hosts keep their logs of it."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        """Return the parser of its options."""
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _run_argument(parser)
        parser.add_argument("--host", metavar="NAME", help="Only what is about this host.")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Print the events."""
        manager = Runs(self.cloud)
        run = manager.get(parsed_args.run)
        told = list(self._lines(run, manager, parsed_args.host))
        if parsed_args.host and not told:
            base.tell(f"The run {run.id} has nothing about the host {parsed_args.host}.")
            self.exit_code = base.FAILED
        for text in told:
            self.app.stdout.write(f"{base.plain(text)}\n")

    @staticmethod
    def _lines(run: Run, manager: Runs, host: str | None) -> Iterator[str]:
        for event in events.of(manager.progress(run.id)):
            if host is None or host in event.hosts:
                yield follow.line(event, run).plain
        for row in run.report.rows:
            if row.log and host in (None, row.host):
                yield f"{row.host}: its log of {row.step or 'the run'} is {row.log}"


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="The run's ID.")
