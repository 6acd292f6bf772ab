#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks each shell script of the tree, found by its first line.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v shellcheck >/dev/null; then
    echo "shellcheck is missing: apt-get install shellcheck" >&2
    exit 1
fi
scripts=()
by_a_shell='^#!.*\b(ba|da)?sh\b'
while read -r file; do
    [ -f "$file" ] || continue
    first=''
    IFS= read -r -n 64 first <"$file" || true
    if [[ $first =~ $by_a_shell ]]; then
        scripts+=("$file")
    fi
done < <(git ls-files --cached --others --exclude-standard)
if [ "${#scripts[@]}" -eq 0 ]; then
    echo "no shell script found: is this the top of a git checkout?" >&2
    exit 1
fi
shellcheck -x "${scripts[@]}"
echo "shellcheck: ${#scripts[@]} scripts are clean"
