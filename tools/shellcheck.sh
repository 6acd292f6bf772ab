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
while read -r file; do
    if [ -f "$file" ] && head -c 64 "$file" | head -n 1 | grep -qaE '^#!.*\b(ba|da)?sh\b'; then
        scripts+=("$file")
    fi
done < <(git ls-files --cached --others --exclude-standard)
if [ "${#scripts[@]}" -eq 0 ]; then
    echo "no shell script found: is this the top of a git checkout?" >&2
    exit 1
fi
shellcheck -x "${scripts[@]}"
echo "shellcheck: ${#scripts[@]} scripts are clean"
