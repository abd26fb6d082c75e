#!/usr/bin/env bash
# Starts the installation: finds a Python, installs what this machine needs into env/ (once), and runs the launcher.
#   ./master_script.sh                 run until Ctrl-C
#   ./master_script.sh start|stop|status
#   ./master_script.sh --plan          what would run where; starts nothing
#   ./master_script.sh --rehearse 5    play simulated visitors through one whole run
#   ./master_script.sh install         install alone; --dry-run says what, --again makes env/ anew
#   ./master_script.sh update [VERSION]    another version of the program; rollback: the one before
#   ./master_script.sh --help          every option
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

find_python() {
    local candidate
    for candidate in ${WMKML_PYTHON:-} python3.13 python3.12 python3.11 python3 "$here"/env.python/cpython-*/bin/python3; do
        if "$candidate" -c 'import json, ssl, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

is_dry_run() {
    [[ ${1:-} == install && " $* " == *" --dry-run "* ]]
}

if ! python=$(find_python); then
    echo "No Python from 3.11 to 3.14 was found." >&2
    if is_dry_run "$@"; then
        echo "scripts/bring-python would put one into env.python/ with uv; its headers come with it."
        # What the rest would be can be told by a Python that is a little too old.
        python=python3
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1 || exit 0
    elif ! python=$("$here/scripts/bring-python" "$here/env.python"); then
        echo "Install one: from Debian 12 and Ubuntu 24.04 on, sudo apt-get install python3 python3-venv; elsewhere" \
            "https://www.python.org/downloads/. WMKML_PYTHON=/path/to/python chooses one." >&2
        exit 1
    fi
fi
# -B: the system's Python must leave no compiled files here.
install=(env PYTHONPATH="$here" "$python" -B -m wmkml.install.installer)
if [[ ${1:-} == install ]]; then
    shift
    exec "${install[@]}" --ask "$@"
fi
if [[ ${1:-} == update || ${1:-} == rollback ]]; then
    exec env PYTHONPATH="$here" "$python" -B -m wmkml.install.updating "$@"
fi
if [[ $# == 0 || $* == start ]]; then
    "${install[@]}" --ask
else
    "${install[@]}"
fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$here/env/bin/python" -m wmkml.launcher "$@"
