#!/usr/bin/env bash
# Installs what the tests need and runs all checks: lint, format, types, tests.  Exit status 0 only if all pass.
#   ./run_tests.sh              about thirty-five minutes on 2 cores
#   ./run_tests.sh --long       the long ones too (README lists them)
#   ./run_tests.sh -k cluster   everything else goes to pytest
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

began=$SECONDS
report() { printf '[%4d s] %s\n' $((SECONDS - began)) "$1"; }

# program:Debian package
program_packages=(
    oscdump:liblo-tools pd:puredata-core Xvfb:xvfb chromium:chromium xdotool:xdotool strace:strace curl:curl ip:iproute2
    systemd-analyze:systemd xset:x11-xserver-utils nginx:nginx caddy:caddy openssl:openssl
    pulseaudio:pulseaudio pactl:pulseaudio-utils
)

missing_packages() {
    local entry
    for entry in "${program_packages[@]}"; do
        command -v "${entry%%:*}" >/dev/null || echo "${entry##*:}"
    done
}

can_install() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

install_packages() {
    report "Installing Debian packages that the tests need: $*."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends "$@" >/dev/null
}

mapfile -t packages < <(missing_packages)
if [[ ${#packages[@]} -gt 0 ]] && can_install; then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing_packages)
fi
if [[ ${#packages[@]} -gt 0 ]]; then
    report "Missing, and some tests will fail without: ${packages[*]}. On Debian: sudo apt-get install ${packages[*]}"
fi

# Hundreds of processes start, and each would compile the project's own modules anew.
unset PYTHONDONTWRITEBYTECODE

./master_script.sh install --tests || exit
has_tk() { env/bin/python -c 'import tkinter' 2>/dev/null; }
# Debian's Tk is for Debian's Python alone; another one has it built in or not at all.
if ! has_tk && [[ $(env/bin/python -c 'import sys; print(sys.base_prefix)') == /usr ]] && can_install; then
    install_packages python3-tk
fi
if ! has_tk; then
    report "This Python has no Tk, and the window's tests will fail. On Debian: sudo apt-get install python3-tk"
fi

marker='not long'
arguments=()
for argument in "$@"; do
    if [[ $argument == --long ]]; then marker='long or not long'; else arguments+=("$argument"); fi
done

# Most tests wait for a process: one worker more than there are cores keeps these busy.  More than four would need much memory.
workers=$(($(nproc) + 1))
((workers <= 4)) || workers=4

# A test that failed beside others may have missed its time on a busy machine: it is run once more, by itself.  What passes then is
# named at the end as unstable, which is a defect to mend.  More of them than this are a failure.
unstable_allowed=3

# Leaves pytest's status in `status`.  5 says that no test was selected, as when the arguments name one of the other kind.
selected=0
run_pytest() {
    env/bin/python -m pytest "$@" ${arguments[@]+"${arguments[@]}"}
    status=$?
    [[ $status == 5 ]] && return
    selected=1
    [[ $status == 0 ]] || failed+=("pytest $1 $2")
}

# Whether pytest went on to its last test: one that stops early (-x) leaves tests out, and so does one that was interrupted.
ran_to_its_end() {
    [[ $status == 1 && " ${arguments[*]} " != *" -x "* && " ${arguments[*]} " != *" --maxfail"* &&
        " ${arguments[*]} " != *" --exitfirst "* && " ${arguments[*]} " != *" --s"[tw]* ]]
}

# The tests that failed in the last run of pytest, one a line.
failed_tests() {
    env/bin/python -c 'import json, sys; print(*json.load(open(sys.argv[1])), sep="\n")' .pytest_cache/v/cache/lastfailed 2>/dev/null
}

failed=()
unstable=()
# Types are checked on one core for more than a minute, while tests mostly wait.
checks=$(mktemp)
setsid scripts/check >"$checks" 2>&1 &
check=$!
trap 'kill -- -$check 2>/dev/null; rm -f "$checks"' EXIT
report "Tests, $workers at a time, beside scripts/check"
# Threads of one process that wait for those of another cost more than they bring.
OMP_NUM_THREADS=1 run_pytest -m "not alone and ($marker)" -n "$workers" --cache-clear
if ran_to_its_end; then
    mapfile -t once_failed < <(failed_tests)
    if ((${#once_failed[@]} > 0 && ${#once_failed[@]} <= unstable_allowed)); then
        report "Once more, alone: ${once_failed[*]}"
        if env/bin/python -m pytest "${once_failed[@]}"; then
            unset 'failed[-1]'
            unstable=("${once_failed[@]}")
        fi
    fi
fi
wait "$check" || failed+=(scripts/check)
report "What scripts/check said:"
cat "$checks"
report "Tests that measure time or frames, alone"
run_pytest -m "alone and ($marker)"
((selected)) || failed+=("no test was selected")
if ((${#unstable[@]})); then
    report "Unstable, to be mended (failed beside others, passed alone): ${unstable[*]}"
fi
if ((${#failed[@]})); then
    report "Failed: $(printf '%s; ' "${failed[@]}")"
else
    report "All passed."
fi
[[ ${#failed[@]} -eq 0 ]]
