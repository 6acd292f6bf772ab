# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the proofs of the driver, which need a Docker Engine or Nova's own tests, and no cloud.
#
#   . tools/proofs/on_engine.sh
#   prove_on_engine TESTS...      tests of the environment functional-driver, with a real engine
#   nova_environment RELEASE      $python, with that Nova and the driver's dependencies

. tools/proofs/in_lab.sh

# Print the help, or refuse: these proofs have no options.
no_options() {
    case ${1:-} in
    '') ;;
    -h | --help)
        show_help
        exit 0
        ;;
    *)
        echo "$1 is not an option; see --help" >&2
        exit 2
        ;;
    esac
}

# Bring what tests need on this machine, and have its Docker Engine running.
prepare_engine() {
    # shellcheck source=tools/prepare.sh
    . tools/prepare.sh test
    # shellcheck disable=SC2154  # prepare.sh sets it
    python -c 'import pathlib, sys; from lab.machine import engine; engine.ensure(pathlib.Path(sys.argv[1]))' \
        "$logs/engine-start.log"
}

# Have an environment of one release of Nova in the cache, and the driver's dependencies in it.
#   nova_environment RELEASE [PACKAGE...]
nova_environment() {
    local release=$1 lock=tools/proofs/nova/$1.lock environment stamp
    shift
    # The newest one is the lab's.
    [ -e "$lock" ] || lock=lab/openstack.lock
    # shellcheck disable=SC2154  # prepare.sh sets it
    environment=$cache/nova-$release
    python=$environment/bin/python
    stamp=$(echo "$@" | cat - "$lock" driver/pyproject.toml tools/proofs/on_engine.sh | sha256sum)
    if [ "$(cat "$environment/stamp" 2>/dev/null)" != "$stamp" ]; then
        say "making the environment of Nova $release"
        uv venv --quiet --clear --python "$venv/bin/python" "$environment"
        uv pip install --quiet --python "$python" --constraint "$lock" "nova==$release.*" \
            openstack-placement --requirement driver/pyproject.toml --extra test "$@"
        echo "$stamp" >"$environment/stamp"
    fi
}

# Run tests on a real engine, with their output on the screen and in a log, and print their figures.
prove_on_engine() {
    local log began=$SECONDS outcome=proven figures
    prepare_engine
    log=$logs/proof-$(basename "$0").log
    tox run -q -e functional-driver -- -v -s "$@" 2>&1 | tee "$log" || outcome='NOT PROVEN'
    figures=$(
        sed -n 's/^figures: //p' "$log"
        grep -E '^=+ .*(passed|failed|error).* in ' "$log" | tail -1 | tr -d '=' | xargs || true
    )
    printf '%s %s: %s; %d s in all\n' "$(basename "$0")" "$outcome" \
        "$(awk 'NF { printf "%s%s", sep, $0; sep = "; " }' <<<"${figures:-no figures}")" \
        $((SECONDS - began))
    [ "$outcome" = proven ]
}
