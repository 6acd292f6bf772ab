#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs all tests: style, unit, functional, documentation, and the whole cloud in the lab.
#
#   tools/test.sh                 everything, from a clean state
#   tools/test.sh PHASE...        only these: functional-driver pep8 templates py3 dashboard docs
#                                 releasenotes functional lab
#
# Each phase's output is shown as it goes and kept in a log. The last line says what failed.
set -euo pipefail
cd "$(dirname "$0")/.."

phases=(functional-driver pep8 templates py3 dashboard docs releasenotes functional lab)
case ${1:-} in
-h | --help)
    sed -n '3,10s/^# \{0,1\}//p' "$0"
    exit 0
    ;;
esac
for phase in "$@"; do
    case " ${phases[*]} " in
    *" $phase "*) ;;
    *)
        echo "$phase is not a phase; there are: ${phases[*]}" >&2
        exit 2
        ;;
    esac
done
[ $# -eq 0 ] || phases=("$@")

# shellcheck source=tools/prepare.sh
. tools/prepare.sh test

run_logs=$logs/test-$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$run_logs"
started=$SECONDS
results=$run_logs/results
: >"$results"

# Runs one phase with its output on the screen and in its log, and writes down how it ended.
phase() {
    local name=$1 began=$SECONDS log=$run_logs/$1.log outcome=passed
    shift
    say "== $name: $*  (log: $log)"
    "$@" 2>&1 | tee "$log" || outcome=FAILED
    printf '%-18s %-7s %5d s  %s\n' "$name" "$outcome" $((SECONDS - began)) "$log" >>"$results"
    [ "$outcome" = passed ]
}

# Starts the machine's Docker Engine, as the lab does it.
start_engine() {
    python -c 'import pathlib, sys; from lab.machine import engine; print(engine.ensure(pathlib.Path(sys.argv[1])))' \
        "$run_logs/engine-start.log"
}

# The hosts go with the lab: what their services said is needed where something has failed.
keep_journals() {
    local host
    for host in $(python -m lab status | awk '{print $1}'); do
        python -m lab logs "$host" --lines 20000 >"$run_logs/journal-$host.log" 2>&1 || true
    done
}

# A log of pytest names what failed; of another log the end is shown.
what_failed() {
    [ -f "$1" ] || return 0
    { grep -E '^(FAILED|ERROR) ' "$1" || tail -n 8 "$1"; } | tail -n 12 | cut -c -300
}

is_chosen() { case " ${phases[*]} " in *" $1 "*) ;; *) false ;; esac }

# Runs a command that gives way to all others. Linux shares processors out among sessions, and nice
# counts within each of them alone (sched(7), autogroup): so it gets a session with a nice of its own.
giving_way() {
    # shellcheck disable=SC2016  # the inner shell's own
    setsid --wait bash -c '
        { echo 19 >/proc/self/autogroup; } 2>/dev/null
        exec nice -n 19 "$@"' giving-way "$@"
}

# Runs those of the phases given that are chosen, one after the other.
in_turn() {
    local name
    for name in "$@"; do
        ! is_chosen "$name" || phase "$name" giving_way tox run -q -e "$name" || true
    done
}

# What has no deadlines of its own: it works more than it waits, and gives way to what has them.
# Those of one process each fill what the tests of two leave while these start, wait and end.
other_phases() {
    in_turn pep8 templates docs dashboard releasenotes &
    in_turn py3 functional
    wait $!
}

driver_phase() {
    # A volume that one of its tests has mounted is in use in each mount namespace that is made of
    # the machine's meanwhile, as the lab's containers' are: so its mounts are its own.
    phase functional-driver unshare --mount tox run -q -e functional-driver || true
}

lab_phase() {
    phase lab-clean python -m lab down && phase lab-build python -m lab build || return
    if phase lab-up python -m lab up; then
        phase lab-tests tox run -q -e lab || keep_journals
    else
        keep_journals
    fi
    phase lab-down python -m lab down || true
}

# The driver's tests and the cloud wait more than they work, for events that have to come in time.
# So they run side by side, and all other phases take what they leave of the processors.
timed_phases() {
    phase engine start_engine || return
    if is_chosen functional-driver; then driver_phase 2>&1 | sed -u 's/^/driver: /' & fi
    if is_chosen lab; then
        trap 'python -m lab down >"$run_logs/lab-down.log" 2>&1 || true' EXIT
        lab_phase || true
        trap - EXIT
    fi
}

if is_chosen functional-driver || is_chosen lab; then
    other_phases 2>&1 | sed -u 's/^/beside: /' &
    timed_phases || true
    wait
else
    other_phases
fi

# A phase of which nothing is known, whatever ended it, has not passed.
for name in "${phases[@]}"; do
    [ "$name" != lab ] || name=lab-tests
    grep -q "^$name " "$results" ||
        printf '%-18s %-7s %5d s  %s\n' "$name" FAILED 0 "$run_logs" >>"$results"
done

printf '\n'
cut -c -34 "$results"
printf '%-18s         %5d s\n\n' total $((SECONDS - started))
if grep -q FAILED "$results"; then
    awk '$2 == "FAILED" { print $5 }' "$results" | while read -r log; do what_failed "$log"; done
    printf 'FAILED: %s\n' "$(awk '$2 == "FAILED" { printf "%s%s (log: %s)", sep, $1, $5; sep = ", " }' "$results")"
    exit 1
fi
echo "all passed"
