# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the proofs that need the whole cloud: brings up a lab from a clean state, runs tests or
# a measuring program in it, and ends with their figures.
#
#   . tools/proofs/in_lab.sh
#   prove_in_lab TESTS "$@"         a file of tests
#   measure_in_lab MODULE "$@"      a module of benchmarks

# Print the comment at the top of a proof, which is its help.
show_help() {
    awk 'NR > 2 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

# What wires the ports of instances in a proof's lab; a proof may say otherwise.
networking=ovs
# How many compute hosts that lab has; a proof may say otherwise.
computes=3

# Run a command in the lab, with its output on the screen and in a log, and print its figures.
#   in_lab OPTION COMMAND...
in_lab() {
    local keep='' log began=$SECONDS outcome=proven figures
    case $1 in
    '') ;;
    --keep) keep=yes ;;
    -h | --help)
        show_help
        return 0
        ;;
    *)
        echo "$1 is not an option; see --help" >&2
        return 2
        ;;
    esac
    shift

    # shellcheck source=tools/prepare.sh
    . tools/prepare.sh test
    # shellcheck disable=SC2154  # prepare.sh sets it
    log=$logs/proof-$(basename "$0").log
    [ -n "$keep" ] || python -m lab down
    python -m lab up --networking "$networking" --computes "$computes"
    "$@" 2>&1 | tee "$log" || outcome='NOT PROVEN'
    [ -n "$keep" ] || python -m lab down

    figures=$(
        grep -E '^=+ .*(passed|failed|error).* in ' "$log" | tail -1 | tr -d '=' | xargs || true
        sed -n 's/.*figures: //p' "$log"
    )
    printf '%s %s: %s; %d s in all\n' "$(basename "$0")" "$outcome" \
        "$(awk 'NF { printf "%s%s", sep, $0; sep = "; " }' <<<"${figures:-no figures}")" \
        $((SECONDS - began))
    [ "$outcome" = proven ]
}

# Install packages of the operating system that a proof alone needs, where they are missing.
need_packages() {
    local log name missing=()
    for name in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] ||
            missing+=("$name")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    log=$(mktemp -t novadocker-proof-apt.XXXXXX)
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive \
        apt-get -q -y install --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 || {
        echo "apt-get could not install ${missing[*]}; see $log" >&2
        return 1
    }
    rm -f "$log"
}

prove_in_lab() {
    in_lab "${2:-}" tox run -q -e lab -- -v -s "$1"
}

measure_in_lab() {
    in_lab "${2:-}" tox exec -q -e lab -- python -m "$1"
}
