"""The desk's PIN and who gets in: made once, changed at will, guessed slowly, for a session that ends."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from wmkml.__main__ import main
from wmkml.config import load_settings
from wmkml.owner.desk_machine import gpus_told
from wmkml.owner.desk_sessions import (
    FREE_GUESSES,
    FREE_GUESSES_OF_ALL,
    LONGEST_WAIT,
    LONGEST_WAIT_OF_ALL,
    MEMORY_SECONDS,
    MOST_SESSIONS,
    SESSION_SECONDS,
    DeskSessions,
    TooSoon,
    WrongPin,
)
from wmkml.pin import PinUnusable, change_pin, fresh_pin, load_pin
from wmkml.places import Places, places

PIN = "480213"


class Time:
    """A clock that goes as the test says."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def here(tmp_path: Path) -> Places:
    return places(load_settings(), tmp_path)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def door(time: Time) -> DeskSessions:
    return DeskSessions(lambda: PIN, time)


def wrong(door: DeskSessions, client: str, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(WrongPin):
            door.login(client, "000000")


def must_wait(door: DeskSessions, client: str, guess: str = PIN) -> int:
    with pytest.raises(TooSoon) as refused:
        door.login(client, guess)
    return refused.value.seconds


def test_the_pin_is_made_once_and_read_by_its_owner_alone(here: Places) -> None:
    pin = load_pin(here)
    assert len(pin) == 6 and pin.isdecimal()
    assert load_pin(here) == pin
    assert stat.S_IMODE(here.pin.stat().st_mode) == 0o600
    change_pin(here, PIN)
    assert load_pin(here) == PIN
    assert stat.S_IMODE(here.pin.stat().st_mode) == 0o600
    assert [path.name for path in here.data.iterdir()] == [here.pin.name]


def test_pins_differ() -> None:
    assert len({fresh_pin() for _ in range(50)}) > 40


@pytest.mark.parametrize("pin", ["", "12345", "1234567890123", "48021a", "４８０２１３", "123456", "987654", "777777"])
def test_what_is_no_pin_is_not_taken(here: Places, pin: str) -> None:
    change_pin(here, PIN)
    with pytest.raises(PinUnusable):
        change_pin(here, pin)
    assert load_pin(here) == PIN


def test_a_broken_pin_file_is_named(here: Places) -> None:
    here.data.mkdir()
    here.pin.write_text("secret\n")
    with pytest.raises(PinUnusable, match=r"desk_pin\.txt"):
        load_pin(here)


def test_the_command_shows_and_changes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("general: {}\n")
    here = places(load_settings(config), tmp_path)

    def told(*words: str) -> tuple[int, str, str]:
        status = main(["pin", *words, "--config", str(config)])
        said = capsys.readouterr()
        return status, said.out.strip(), said.err

    assert told()[:2] == (0, load_pin(here))
    assert told(PIN)[:2] == (0, PIN)
    status, pin, _ = told("--new")
    assert (status, pin) == (0, load_pin(here)) and pin != PIN
    status, out, err = told("12")
    assert (status, out) == (2, "") and "6 to 12 digits" in err
    here.pin.write_text("?")
    assert told()[0] == 1


def test_the_right_pin_opens_a_session_that_ends(door: DeskSessions, time: Time) -> None:
    token = door.login("a", PIN)
    assert door.valid(token)
    assert not door.valid(None) and not door.valid("") and not door.valid(token[:-1])
    time.now += SESSION_SECONDS - 1
    assert door.valid(token)
    time.now += 1
    assert not door.valid(token)


def test_a_log_out_ends_its_own_session_alone(door: DeskSessions) -> None:
    one, other = door.login("a", PIN), door.login("b", PIN)
    door.logout(one)
    assert not door.valid(one) and door.valid(other)


def test_a_new_pin_ends_every_session(time: Time) -> None:
    now = [PIN]
    door = DeskSessions(lambda: now[0], time)
    token = door.login("a", PIN)
    now[0] = "777123"
    assert not door.valid(token)
    with pytest.raises(WrongPin):
        door.login("a", PIN)
    assert door.valid(door.login("a", "777123"))


def test_the_number_of_sessions_is_bounded(door: DeskSessions) -> None:
    tokens = [door.login("a", PIN) for _ in range(MOST_SESSIONS + 1)]
    assert not door.valid(tokens[0]) and door.valid(tokens[1]) and door.valid(tokens[-1])


def test_wrong_guesses_make_a_client_wait_longer_each_time(door: DeskSessions, time: Time) -> None:
    wrong(door, "a", FREE_GUESSES)
    waits = []
    for _ in range(8):
        wrong(door, "a")
        waits.append(must_wait(door, "a"))
        time.now += waits[-1]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60] and waits[-1] == LONGEST_WAIT
    assert door.valid(door.login("a", PIN))
    wrong(door, "a", FREE_GUESSES)  # the right one has wiped the slate


def test_a_guess_too_soon_is_not_looked_at_and_costs_nothing(door: DeskSessions, time: Time) -> None:
    wrong(door, "a", FREE_GUESSES + 1)
    assert must_wait(door, "a", PIN) == 2
    time.now += 1
    assert must_wait(door, "a", "000000") == 1
    time.now += 1
    assert door.valid(door.login("a", PIN))


def test_another_client_need_not_wait(door: DeskSessions) -> None:
    wrong(door, "a", FREE_GUESSES + 1)
    must_wait(door, "a")
    assert door.valid(door.login("b", PIN))


def test_many_clients_slow_everybody_down_but_never_for_long(door: DeskSessions, time: Time) -> None:
    for number in range(FREE_GUESSES_OF_ALL):
        wrong(door, f"client {number}")
    assert door.valid(door.login("operator", PIN))
    for number in range(100):
        wrong(door, f"other {number}")
        time.now += must_wait(door, "operator")
    wrong(door, "the last")
    assert must_wait(door, "operator") == LONGEST_WAIT_OF_ALL
    time.now += LONGEST_WAIT_OF_ALL
    assert door.valid(door.login("operator", PIN))


def test_old_mistakes_are_forgotten(door: DeskSessions, time: Time) -> None:
    wrong(door, "a", FREE_GUESSES + 1)
    time.now += MEMORY_SECONDS + 1
    wrong(door, "a", FREE_GUESSES)
    assert door.valid(door.login("a", PIN))


def test_gpus_are_read_from_what_the_tool_says() -> None:
    told = "NVIDIA A100, 1024, 81920, 37\nSome, Thing, 512, 2048, [N/A]\nUnified, [N/A], [N/A], 3\n\nnonsense\n"
    one, other = gpus_told(told)
    assert (one.name, one.used_gib, one.total_gib, one.busy) == ("NVIDIA A100", 1.0, 80.0, 0.37)
    assert (other.name, other.busy) == ("Some, Thing", None)
