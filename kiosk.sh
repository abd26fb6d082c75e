#!/usr/bin/env bash
# Visitor's page and stage in full screen on the screens of this machine, without ways out; --help lists the options.
#   ./kiosk.sh             this machine's installation; the stage on the second screen, if there is one
#   ./kiosk.sh --install   start it with the graphical session
#   ./kiosk.sh --owner http://192.168.0.7:8000 --stage-key KEY    an installation on another machine
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
if [[ ! -x $here/env/bin/python ]]; then
    echo "env/ is missing here. Make it first: ./master_script.sh install" >&2
    exit 1
fi
export PYTHONPATH="$here${PYTHONPATH:+:$PYTHONPATH}"
exec "$here/env/bin/python" -m wmkml kiosk "$@"
