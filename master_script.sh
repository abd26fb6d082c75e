#!/usr/bin/env bash
# Starts the installation: finds a Python, installs what this machine needs into env/ (once), and becomes the launcher.
#   ./master_script.sh                 run until Ctrl-C
#   ./master_script.sh start|stop|status
#   ./master_script.sh --plan          what would run where; starts nothing
#   ./master_script.sh --rehearse 5    play simulated visitors through one whole run
#   ./master_script.sh install         install alone; --dry-run says what, --again makes env/ anew
#   ./master_script.sh --help          all there is
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

find_python() {
    local candidate
    for candidate in ${WMKML_PYTHON:-} python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import json, ssl, sys, urllib.request; sys.exit(not (3, 11) <= sys.version_info < (3, 15))' \
            >/dev/null 2>&1; then
            echo "$candidate"
            return
        fi
    done
    echo "No Python from 3.11 to 3.14 was found. On Debian and Ubuntu: sudo apt-get install python3 python3-venv;" >&2
    echo "elsewhere: https://www.python.org/downloads/. WMKML_PYTHON=/path/to/python chooses one." >&2
    return 1
}

python=$(find_python)
# -B: the system's Python leaves no compiled files here.
install=(env PYTHONPATH="$here" "$python" -B -m wmkml.cluster.installing)
if [[ ${1:-} == install ]]; then
    shift
    exec "${install[@]}" "$@"
fi
"${install[@]}"
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$here/env/bin/python" -m wmkml.cluster "$@"
