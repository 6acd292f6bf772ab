# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the proofs that want a machine on which nothing was installed before: a container of a
# minimal Debian with root, Python, git and this machine's package sources. It has no Docker, no
# OpenStack, no package lists and no caches; its own engine goes to a volume of its own.
#
#   . tools/proofs/fresh_machine.sh
#   start_fresh_machine RELEASE   makes $fresh_machine with a clone of this commit in
#                                 /root/nova-docker; RELEASE is the code name of a release of this
#                                 machine's distribution
#   in_fresh_machine COMMAND      runs a command in the clone
#   remove_fresh_machine          leaves nothing of it

fresh_machine=novadocker-fresh-machine

start_fresh_machine() {
    # shellcheck source=tools/prepare.sh
    . tools/prepare.sh
    local log=$logs/proof-fresh-machine.log sources options name release=$1
    remove_fresh_machine
    sources=$cache/fresh-machine.sources
    python -c 'import pathlib, sys; from lab.machine import engine; engine.ensure(pathlib.Path(sys.argv[1]))' "$log"
    python - "$release" >"$sources" <<'PYTHON'
import dataclasses
import sys

from lab.machine import apt_sources

own = apt_sources.machine_release()
for source in apt_sources.machine_sources(own):
    suites = tuple(suite.replace(own, sys.argv[1]) for suite in source.suites)
    print(dataclasses.replace(source, suites=suites).stanza())
PYTHON
    say "making a fresh machine, $release (log: $log)"
    mmdebstrap --mode=root --variant=minbase --format=tar \
        --include=ca-certificates,git,iproute2,procps,python3 \
        '--customize-hook=rm -rf "$1"/var/lib/apt/lists/* "$1"/etc/resolv.conf' \
        "$release" - "$sources" 2>>"$log" |
        docker import - "$fresh_machine" >>"$log" ||
        die "no system of the release '$release' could be made; see $log"
    # Its own engine, and hosts in it, take what a host of the lab takes.
    mapfile -t options < <(python -c 'from lab.hosts import containers; print(*containers.privileges(), sep="\n")')
    # What a machine's owner sets up to reach the package registries, and nothing else.
    for name in $(compgen -e | grep -E '^(PIP_|SSL_CERT|REQUESTS_CA|[a-zA-Z]+_proxy$|[A-Z]+_PROXY$)'); do
        options+=(--env "$name")
    done
    for name in /etc/pip.conf /etc/apt/apt.conf.d /etc/ssl/certs /usr/local/share/ca-certificates; do
        [ ! -e "$name" ] || options+=(--volume "$name:$name:ro")
    done
    while read -r name; do
        [ ! -d "$name" ] || options+=(--volume "$name:$name:ro")
    done < <(python -m pip config list 2>/dev/null | sed -n "s/^[^=]*find-links='\(\/.*\)'$/\1/p")
    docker run --detach --name "$fresh_machine" --hostname fresh --tmpfs /run \
        --volume /var/lib/docker --volume "$(git rev-parse --absolute-git-dir):/root/origin:ro" \
        "${options[@]}" "$fresh_machine" \
        sh -c "$(sed '/^exec /d' lab/images/scripts/boot); exec sleep infinity" >>"$log"
    docker exec "$fresh_machine" git -c safe.directory='*' clone --quiet --no-hardlinks \
        /root/origin /root/nova-docker
}

in_fresh_machine() {
    docker exec --workdir /root/nova-docker "$fresh_machine" "$@"
}

remove_fresh_machine() {
    docker rm --force --volumes "$fresh_machine" >/dev/null 2>&1 || true
    docker rmi --force "$fresh_machine" >/dev/null 2>&1 || true
}
