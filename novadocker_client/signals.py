# SPDX-License-Identifier: Apache-2.0
"""What an operator tells a run that is under way: environments of Mistral's, by their names.

They are in the run's project. It hears nobody in another one, and deletes them at its end.
"""

from __future__ import annotations

from typing import Any

from mistralclient.api.base import APIException

from novadocker_client.errors import BadInput

# How the name of what asks a run to stop begins: then comes the run.
STOP = "novadocker-stop-"
# And of what approves a batch: then come the run, a dash and the batch's number.
APPROVE = "novadocker-approve-"
_CONFLICT = 409


def give(mistral: Any, name: str, run_id: str, project_id: str) -> None:
    """Tell a run something; what it was told before it is not told again.

    :param mistral: Mistral's client
    :param name: of the environment
    :param run_id: the run
    :param project_id: the project that the run is of
    :raises BadInput: when that is another one than the user's
    """
    try:
        made = mistral.environments.create(
            name=name,
            description="Tells a run of novadocker something. The run deletes it.",
            variables={"run": run_id},
            scope="private",
        )
    except APIException as err:
        if err.error_code != _CONFLICT:
            raise
        return
    if made.to_dict().get("project_id", project_id) != project_id:
        mistral.environments.delete(name)
        raise BadInput(
            "run",
            f"{run_id} is of the project {project_id}.",
            "Ask in that project: it hears nobody in another one.",
        )
