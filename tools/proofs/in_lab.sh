# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# Sourced by the proofs that are tests of the whole cloud: brings up a lab from a clean state, runs
# the tests in it, and ends with their figures.
#
#   . tools/proofs/in_lab.sh
#   prove_in_lab TESTS "$@"

# Print the comment at the top of a proof, which is its help.
show_help() {
    awk 'NR > 2 { if (!/^#/) exit; sub(/^# ?/, ""); print }' "$0"
}

prove_in_lab() {
    local tests=$1 keep='' log began=$SECONDS figures outcome=proven
    shift
    case ${1:-} in
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

    # shellcheck source=tools/prepare.sh
    . tools/prepare.sh test
    # shellcheck disable=SC2154  # prepare.sh sets it
    log=$logs/proof-$(basename "$0").log
    [ -n "$keep" ] || python -m lab down
    python -m lab up
    tox run -q -e lab -- -v -s "$tests" 2>&1 | tee "$log" || outcome='NOT PROVEN'
    [ -n "$keep" ] || python -m lab down

    figures=$(grep -o 'figures: .*' "$log" | sed 's/^figures: //' | paste -sd ';') || true
    printf '%s %s: %s; %s; %d s in all\n' "$(basename "$0")" "$outcome" \
        "$(grep -E '^=+ .*(passed|failed|error).* in ' "$log" | tail -1 | tr -d '=' | xargs)" \
        "${figures:-no further figures}" $((SECONDS - began))
    [ "$outcome" = proven ]
}
