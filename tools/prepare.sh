# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the other tools: brings what they need on a fresh Debian machine (root), and
# leaves in $venv a Python environment with uv, tox and the lab's own dependencies.
#
#   . tools/prepare.sh [test]        "test": also the packages that only tests need

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/novadocker-lab
venv=$cache/tools
logs=$cache/logs
mkdir -p "$logs"
cd "$top"

# Byte-code is what makes the second start quick, and a service must not inherit the ban.
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME
export LC_ALL=C.UTF-8 PYTHONUNBUFFERED=1

# To standard error: `tools/lab env` is for eval.
say() { printf '%s  %s\n' "$(date -u +%H:%M:%S)" "$*" >&2; }
die() {
    printf '\nFAILED: %s\n' "$*" >&2
    exit 1
}

# The names in bindep.txt for this profile that dpkg does not know as installed.
missing_packages() {
    local profile=${1:-} name rest
    while read -r name rest; do
        case $name in '' | '#'*) continue ;; esac
        case $rest in *' test]'*) [ "$profile" = test ] || continue ;; esac
        if [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" != installed ]; then
            echo "$name"
        fi
    done <bindep.txt
}

install_packages() {
    local log=$logs/prepare-apt.log packages install
    mapfile -t packages < <(missing_packages "${1:-}")
    # Tests of the driver download packages without installing them: that takes the lists.
    local lists=(/var/lib/apt/lists/*Packages*)
    [ "${#packages[@]}" -gt 0 ] || [ ! -e "${lists[0]}" ] || return 0
    [ "$(id -u)" -eq 0 ] || die "only root can install what is missing: ${packages[*]:-package lists}"
    export DEBIAN_FRONTEND=noninteractive
    : >"$log"
    if [ ! -e "${lists[0]}" ]; then
        apt-get -q update >>"$log" 2>&1 || die "apt-get update failed; see $log"
    fi
    [ "${#packages[@]}" -gt 0 ] || return 0
    say "installing ${packages[*]}"
    install=(apt-get -q -y -o DPkg::Lock::Timeout=120 install --no-install-recommends)
    "${install[@]}" "${packages[@]}" >>"$log" 2>&1 ||
        { apt-get -q update && "${install[@]}" "${packages[@]}"; } >>"$log" 2>&1 ||
        die "apt-get could not install ${packages[*]}; see $log"
}

make_venv() {
    local log=$logs/prepare-python.log stamp
    # In a shell that has this environment already, python3 would be the one that is made anew.
    PATH=:$PATH:
    PATH=${PATH//":$venv/bin:"/:}
    PATH=${PATH#:}
    PATH=${PATH%:}
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "Python 3.11 or later is needed, this is $(python3 -V)"
    stamp=$(python3 -c 'import sys; print(sys.version)' | cat - lab/requirements.txt tools/prepare.sh | sha256sum)
    if [ "$(cat "$venv/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "making the tools' Python environment"
        { rm -rf "$venv" && python3 -m venv "$venv" &&
            "$venv/bin/python" -m pip install -q 'uv>=0.5' 'tox>=4.24' 'tox-uv>=1.26' \
                -c lab/openstack.lock -r lab/requirements.txt; } >"$log" 2>&1 ||
            die "the tools' Python environment could not be made; see $log"
        echo "$stamp" >"$venv/stamp"
    fi
    # uv does not read pip's configuration, where a machine has its mirror and certificates.
    local settings
    settings=$("$venv/bin/python" - <<'PYTHON'
import os
import shlex

from lab.machine import python_index

found = {"SSL_CERT_FILE": str(python_index.ca_bundle()), **python_index.machine_index()}
if "UV_INDEX" in found:  # as pip does: the best version of all indexes, not the first index
    found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
for name, value in found.items():
    if name not in os.environ:
        print(f"export {name}={shlex.quote(value)}")
PYTHON
    ) || die "pip's configuration could not be read"
    eval "$settings"
    export PATH=$venv/bin:$PATH
}

# pbr asks git for the version: a checkout of another owner is fine, an export has none.
tell_version() {
    export GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=$top
    git rev-parse HEAD >/dev/null 2>&1 && return
    PBR_VERSION=$(sed -n 's/^version = //p' setup.cfg)
    export PBR_VERSION
}

install_packages "${1:-}"
make_venv
tell_version
