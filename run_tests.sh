#!/usr/bin/env bash
# Installs what the tests need and runs them: lint, format, types, tests.  Exit status 0 only if all of it is right.
#   ./run_tests.sh              about half an hour on 2 cores
#   ./run_tests.sh --long       the long ones too (README lists them)
#   ./run_tests.sh -k cluster   everything else goes to pytest
set -uo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")"

began=$SECONDS
say() { printf '[%4d s] %s\n' $((SECONDS - began)) "$1"; }

# program:Debian package
programs=(oscdump:liblo-tools pd:puredata-core Xvfb:xvfb chromium:chromium xdotool:xdotool)

missing() {
    local one
    for one in "${programs[@]}"; do
        command -v "${one%%:*}" >/dev/null || echo "${one##*:}"
    done
}

can_install() { [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; }

install_packages() {
    say "Installing Debian packages that the tests need: $*."
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q >/dev/null
    apt-get install -y -q --no-install-recommends "$@" >/dev/null
}

mapfile -t packages < <(missing)
if [[ ${#packages[@]} -gt 0 ]] && can_install; then
    install_packages "${packages[@]}"
    mapfile -t packages < <(missing)
fi
if [[ ${#packages[@]} -gt 0 ]]; then
    say "Missing, and some tests will fail without: ${packages[*]}. On Debian: sudo apt-get install ${packages[*]}"
fi

./master_script.sh install --tests || exit
has_tk() { env/bin/python -c 'import tkinter' 2>/dev/null; }
# Debian's Tk is for Debian's Python alone; another one has it built in or not at all.
if ! has_tk && [[ $(env/bin/python -c 'import sys; print(sys.base_prefix)') == /usr ]] && can_install; then
    install_packages python3-tk
fi
if ! has_tk; then
    say "This Python has no Tk, and the window's tests will fail. On Debian: sudo apt-get install python3-tk"
fi

marker=(-m 'not long')
arguments=()
for word in "$@"; do
    if [[ $word == --long ]]; then marker=(); else arguments+=("$word"); fi
done

failed=()
check() {
    say "$1"
    shift
    "$@" || failed+=("$*")
}
check "Lint" env/bin/ruff check .
check "Format" env/bin/ruff format --check .
check "Types" env/bin/python -m mypy
if [[ ${#failed[@]} -gt 0 ]]; then
    printf 'Failed: %s\n' "${failed[@]}"
fi
say "Tests"
# Last, so that pytest's own summary is the last line.
env/bin/python -m pytest ${marker[@]+"${marker[@]}"} ${arguments[@]+"${arguments[@]}"} || failed+=(pytest)
[[ ${#failed[@]} -eq 0 ]]
