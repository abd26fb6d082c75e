"""The desk's PIN and its sessions: creation and change of the PIN, delays after wrong guesses, the end of a session."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.access.login_link import use_login_token
from wmkml.access.pin import PinUnusableError, change_pin, load_pin, random_pin
from wmkml.config import load_settings
from wmkml.config.paths import Paths, paths_of
from wmkml.owner.desk.sessions import (
    FREE_GUESSES,
    GUESS_MEMORY_SECONDS,
    MAX_CLIENT_WAIT_SECONDS,
    MAX_SESSIONS,
    SESSION_SECONDS,
    DeskSessions,
    TooSoonError,
    WrongPinError,
)

PIN = "480213"


class FakeClock:
    """A clock that the test sets; in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return paths_of(load_settings(), tmp_path)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def door(clock: FakeClock) -> DeskSessions:
    return DeskSessions(lambda: PIN, clock)


def wrong(door: DeskSessions, client: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(WrongPinError):
            door.login(client, "000000")


def must_wait(door: DeskSessions, client: str, guess: str = PIN) -> int:
    with pytest.raises(TooSoonError) as refused:
        door.login(client, guess)
    return refused.value.seconds


def test_the_pin_is_made_once_and_read_by_its_owner_alone(paths: Paths) -> None:
    pin = load_pin(paths)
    assert len(pin) == 6 and pin.isdecimal()
    assert load_pin(paths) == pin
    assert stat.S_IMODE(paths.pin.stat().st_mode) == 0o600
    change_pin(paths, PIN)
    assert load_pin(paths) == PIN
    assert stat.S_IMODE(paths.pin.stat().st_mode) == 0o600
    assert [path.name for path in paths.data.iterdir()] == [paths.pin.name]


def test_pins_differ() -> None:
    assert len({random_pin() for _ in range(50)}) > 40


@pytest.mark.parametrize("pin", ["", "12345", "1234567890123", "48021a", "４８０２１３", "123456", "987654", "777777"])
def test_what_is_no_pin_is_not_taken(paths: Paths, pin: str) -> None:
    change_pin(paths, PIN)
    with pytest.raises(PinUnusableError):
        change_pin(paths, pin)
    assert load_pin(paths) == PIN


def test_a_broken_pin_file_is_named(paths: Paths) -> None:
    paths.data.mkdir()
    paths.pin.write_text("secret\n")
    with pytest.raises(PinUnusableError, match=r"desk_pin\.txt"):
        load_pin(paths)


def test_the_command_shows_and_changes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("general: {}\n")
    paths = paths_of(load_settings(config), tmp_path)

    def run_pin(*words: str) -> tuple[int, str, str]:
        status = main(["pin", *words, "--config", str(config)])
        output = capsys.readouterr()
        return status, output.out.strip(), output.err

    assert run_pin()[:2] == (0, load_pin(paths))
    assert run_pin(PIN)[:2] == (0, PIN)
    status, pin, _ = run_pin("--new")
    assert (status, pin) == (0, load_pin(paths)) and pin != PIN
    status, link, _ = run_pin("--login")
    token = link.splitlines()[0].partition("/desk/enter?once=")[2]
    assert status == 0 and stat.S_IMODE(paths.login_link.stat().st_mode) == 0o600
    assert token not in paths.login_link.read_text()
    assert not use_login_token(paths, token[:-1]) and use_login_token(paths, token)
    assert not use_login_token(paths, token)
    status, out, err = run_pin("12")
    assert (status, out) == (2, "") and "6 to 12 digits" in err
    paths.pin.write_text("?")
    assert run_pin()[0] == 1


def test_the_right_pin_opens_a_session_that_ends(door: DeskSessions, clock: FakeClock) -> None:
    token = door.login("a", PIN)
    assert door.valid(token)
    assert not door.valid(None) and not door.valid("") and not door.valid(token[:-1])
    clock.now += SESSION_SECONDS - 1
    assert door.valid(token)
    clock.now += 1
    assert not door.valid(token)


def test_a_log_out_ends_its_own_session_alone(door: DeskSessions) -> None:
    first, second = door.login("a", PIN), door.login("b", PIN)
    door.logout(first)
    assert not door.valid(first) and door.valid(second)


def test_a_new_pin_ends_every_session(clock: FakeClock) -> None:
    now = [PIN]
    door = DeskSessions(lambda: now[0], clock)
    token = door.login("a", PIN)
    now[0] = "777123"
    assert not door.valid(token)
    with pytest.raises(WrongPinError):
        door.login("a", PIN)
    assert door.valid(door.login("a", "777123"))


def test_the_number_of_sessions_is_bounded(door: DeskSessions) -> None:
    tokens = [door.login("a", PIN) for _ in range(MAX_SESSIONS + 1)]
    assert not door.valid(tokens[0]) and door.valid(tokens[1]) and door.valid(tokens[-1])


def test_wrong_guesses_make_a_client_wait_longer_each_time(door: DeskSessions, clock: FakeClock) -> None:
    wrong(door, "a", FREE_GUESSES)
    waits = []
    for _ in range(10):
        wrong(door, "a")
        waits.append(must_wait(door, "a"))
        clock.now += waits[-1]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300] and waits[-1] == MAX_CLIENT_WAIT_SECONDS
    assert door.valid(door.login("a", PIN))
    wrong(door, "a", FREE_GUESSES)  # the right PIN has reset the count


def test_a_guess_too_soon_is_not_looked_at_and_costs_nothing(door: DeskSessions, clock: FakeClock) -> None:
    wrong(door, "a", FREE_GUESSES + 1)
    assert must_wait(door, "a", PIN) == 2
    clock.now += 1
    assert must_wait(door, "a", "000000") == 1
    clock.now += 1
    assert door.valid(door.login("a", PIN))


def test_another_client_need_not_wait(door: DeskSessions) -> None:
    wrong(door, "a", FREE_GUESSES + 1)
    must_wait(door, "a")
    assert door.valid(door.login("b", PIN))


def test_nobody_waits_for_the_guesses_of_others(door: DeskSessions, clock: FakeClock) -> None:
    for number in range(2000):
        wrong(door, f"client {number}", FREE_GUESSES + 1)
    assert door.valid(door.login("operator", PIN))
    # And nobody is forgotten for the guesses of others.
    must_wait(door, "client 0")


def test_old_mistakes_are_forgotten(door: DeskSessions, clock: FakeClock) -> None:
    wrong(door, "a", FREE_GUESSES + 1)
    clock.now += GUESS_MEMORY_SECONDS + 1
    wrong(door, "a", FREE_GUESSES)
    assert door.valid(door.login("a", PIN))
