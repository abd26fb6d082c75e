"""Every check of the doctor, for machines that are good, bad and unknown: pure functions over described facts."""

from __future__ import annotations

import string
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.doctor.machines import (
    A100,
    GOOD,
    H100,
    UNKNOWN,
    WITHOUT_GPU,
    outcomes,
    with_installation,
    with_machine,
    with_programs,
)
from wmkml.doctor.examination import CHECKS, examine, exit_status, report_text
from wmkml.doctor.facts import DatasetFacts, DeviceFacts, Facts, OscFacts, PortFacts, TakenGpu
from wmkml.problems.wording import BothLanguages

ON_RUNPOD = with_machine(provider="RunPod")
TAKEN = TakenGpu(replace(A100, free_gib=3.0), 71.5)


def osc(route: str, facts: Facts = GOOD) -> Facts:
    return with_installation(facts, osc=(OscFacts("10.0.0.7", 9000, route),))  # type: ignore[arg-type]


def cards(driver: tuple[int, int], **changes: object) -> Facts:
    return with_machine(gpus=(replace(A100, driver=driver, **changes),))  # type: ignore[arg-type]


def port(state: str) -> Facts:
    return with_installation(ports=(PortFacts("general.owner_port", "0.0.0.0", 8000, state, " by x"),))  # type: ignore[arg-type]


def device(*, estimated: bool) -> Facts:
    too_small = DeviceFacts("GPU 0", 20.0, 15.0, fits=False, refusal="GPU 0: 20.0 GiB are needed.")
    return with_installation(devices=(too_small,), sizes_estimated=estimated)


def dataset(problem: str) -> Facts:
    return with_installation(datasets=(DatasetFacts("finetuning.dataset_array", "x", problem, "/x", "a, b"),))  # type: ignore[arg-type]


CASES: list[tuple[str, str, Facts]] = [
    ("settings", "valid", GOOD),
    ("settings", "unreadable", UNKNOWN),
    ("settings", "names", with_installation(unwritable_names=(("general.data_folder", 'a"b'),))),
    ("driver", "runs", GOOD),
    ("driver", "runs", with_programs(with_machine(gpus=(replace(A100, driver=(535, 1)),)), torch_cuda="12.9")),
    ("driver", "runs", with_programs(cards((550, 1), capability=(9, 0)), torch_cuda="12.9", compatibility=True)),
    ("driver", "too_old", cards((550, 54))),
    ("driver", "too_old", with_programs(with_machine(gpus=(replace(H100, driver=(550, 1)),)), torch_cuda="12.9")),
    ("driver", "no_gpu", WITHOUT_GPU),
    ("driver", "no_tool", with_machine(WITHOUT_GPU, gpu_devices=3)),
    ("driver", "pretended", with_machine(gpus_pretended=True)),
    ("driver", "old_card", cards((580, 1), capability=(7, 0))),
    ("driver", "built_for_cpu", with_programs(torch_cuda="")),
    ("driver", "built_for_cpu", with_programs(vllm_cuda="")),
    ("driver", "unlike", with_programs(vllm_cuda="12.9")),
    ("driver", "unknown", with_programs(torch_cuda=None)),
    ("driver", "unknown", with_programs(torch_cuda="14.0")),
    ("torch", "all", GOOD),
    ("torch", "fewer", with_programs(gpus_of_torch=0, torch_problem="no kernel image")),
    ("torch", "unknown", with_programs(gpus_of_torch=None)),
    ("torch", "no_gpu", WITHOUT_GPU),
    ("torch", "pretended", with_machine(gpus_pretended=True)),
    ("compiler", "here", GOOD),
    ("compiler", "missing", with_programs(missing_packages=("gcc", "libpython3.11-dev"))),
    ("compiler", "unknown", with_programs(missing_packages=None)),
    ("compiler", "no_gpu", WITHOUT_GPU),
    ("nvcc", "compiles", GOOD),
    ("nvcc", "without", with_programs(nvcc=False)),
    ("nvcc", "forced", with_programs(nvcc=False, flashinfer_forced=True)),
    ("nvcc", "unknown", with_programs(nvcc=None)),
    ("nvcc", "no_gpu", WITHOUT_GPU),
    ("engine", "vllm", GOOD),
    ("engine", "transformers", WITHOUT_GPU),
    ("engine", "slow", with_installation(engine="transformers")),
    ("engine", "unknown", UNKNOWN),
    ("memory", "fits", GOOD),
    ("memory", "too_small", device(estimated=False)),
    ("memory", "may_not_fit", device(estimated=True)),
    ("memory", "unknown", UNKNOWN),
    ("gpu-free", "free", GOOD),
    ("gpu-free", "taken", with_installation(taken_gpus=(TAKEN,))),
    ("gpu-free", "in_use", with_installation(taken_gpus=(TAKEN,), cluster_runs=True)),
    ("gpu-free", "unknown", with_installation(taken_gpus=None)),
    ("gpu-free", "no_gpu", WITHOUT_GPU),
    ("cores", "all", GOOD),
    ("cores", "quota", with_machine(visible_cores=128, usable_cores=16)),
    ("cores", "omp", with_machine(omp_threads="128")),
    ("cores", "few", with_machine(usable_cores=1)),
    ("cores", "unplanned", UNKNOWN),
    ("shm", "enough", GOOD),
    ("shm", "enough", with_machine(shm_gib=0.0625)),  # Docker's, for one rank
    ("shm", "small", with_installation(with_machine(shm_gib=0.0625), engine_gpus=2)),
    ("shm", "small", with_installation(with_machine(shm_gib=0.0625), training_gpus=2)),
    ("shm", "enough", with_installation(with_machine(shm_gib=0.0625), training_gpus=1)),
    ("shm", "tiny", with_machine(shm_gib=0.03)),
    ("shm", "unknown", UNKNOWN),
    ("model", "complete", GOOD),
    ("model", "no_settings", UNKNOWN),
    *[
        ("model", state, with_installation(model_state=state))
        for state in ("to_fetch", "incomplete", "shipped_incomplete", "own_format", "no_tokenizer_library")
    ],
    ("reading", "quick", GOOD),
    ("reading", "quick", with_installation(read_mib_s=50.0, weights_gib=0.01)),  # the understudy, from anywhere
    ("reading", "slow", with_installation(read_mib_s=50.0)),
    ("reading", "too_slow", with_installation(read_mib_s=5.0)),
    ("reading", "unknown", with_installation(read_mib_s=None)),
    ("reading", "no_weights", with_installation(weights_gib=0.0)),
    ("data", "writable", GOOD),
    ("data", "unwritable", with_installation(data_problem="Read-only file system")),
    ("data", "no_settings", UNKNOWN),
    ("disk", "room", GOOD),
    ("disk", "low", with_installation(disk_free_gib=3.0)),
    ("disk", "full", with_installation(disk_free_gib=0.5)),
    ("disk", "no_room", with_installation(download_gib=13.5, model_disk_free_gib=10.0)),
    ("disk", "unknown", with_installation(disk_free_gib=None)),
    ("disk", "no_settings", UNKNOWN),
    ("keys", "readable", GOOD),
    ("keys", "absent", with_installation(keys="absent")),
    ("keys", "broken", with_installation(keys="broken")),
    ("keys", "forbidden", with_installation(pin="forbidden")),
    ("keys", "open", with_installation(keys="open")),
    ("keys", "no_settings", UNKNOWN),
    *[("ports", state, port(state)) for state in ("free", "own", "taken", "refused", "same")],
    ("ports", "no_settings", UNKNOWN),
    ("datasets", "there", GOOD),
    *[("datasets", problem, dataset(problem)) for problem in ("absent", "empty", "not_available", "adult")],
    ("datasets", "no_settings", UNKNOWN),
    ("pages", "built", GOOD),
    ("pages", "missing", with_installation(pages_built=False)),
    ("pages", "no_settings", UNKNOWN),
    ("certificate", "none", GOOD),
    ("certificate", "valid", with_installation(certificate_days=14)),
    ("certificate", "soon", with_installation(certificate_days=13)),
    ("certificate", "over", with_installation(certificate_days=-1)),
    ("certificate", "unusable", with_installation(certificate_problem="general.tls_key: /k cannot be read.")),
    ("certificate", "no_settings", UNKNOWN),
    ("decency", "not_asked", GOOD),
    ("decency", "off", with_installation(decency_asked=True)),
    ("decency", "on", with_installation(held_back=("visitor", "training"))),
    ("decency", "no_settings", UNKNOWN),
    ("proxy", "provider", ON_RUNPOD),
    ("proxy", "not_seen", GOOD),
    ("proxy", "not_seen", with_installation(trusts_addresses=True)),
    ("proxy", "trusts", with_installation(ON_RUNPOD, trusts_addresses=True)),
    ("proxy", "asks", with_installation(trusts_addresses=True, loopback_only=True)),
    ("osc", "none", GOOD),
    *[("osc", route, osc(route)) for route in ("local", "sent", "closed", "no_route")],
    ("osc", "no_udp", osc("sent", ON_RUNPOD)),
]


@pytest.mark.parametrize(
    ("check", "outcome", "facts"), CASES, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_check_finds_what_the_facts_say(check: str, outcome: str, facts: Facts) -> None:
    assert outcomes(check, facts) == [outcome]
    # Every sentence can be filled in.
    report = examine(facts)
    assert {result.outcome for result in report.findings if result.check == check} == {outcome}
    for language in ("de", "en"):
        assert "{" not in report_text(report, language)


def test_every_outcome_of_every_check_has_a_machine_that_shows_it() -> None:
    in_tables = {(check.name, outcome) for check in CHECKS for outcome in check.outcomes}
    assert {(check, outcome) for check, outcome, _ in CASES} == in_tables


def test_a_good_machine_is_well_and_an_unknown_one_says_what_it_cannot_tell() -> None:
    assert exit_status(examine(GOOD)) == 0
    assert {result.mark for result in examine(WITHOUT_GPU).findings} == {"good", "unknown"}
    report = examine(UNKNOWN)
    assert [result.check for result in report.findings if result.mark == "bad"] == ["settings"]
    assert "finetuning.batch_size" in report_text(report, "de")
    assert exit_status(report) == 1


def test_warnings_alone_are_no_failure() -> None:
    report = examine(with_machine(usable_cores=1))
    assert {result.mark for result in report.findings} >= {"warning"}
    assert exit_status(report) == 0


def test_several_things_wrong_at_once_are_several_findings() -> None:
    both = (PortFacts("a", "h", 1, "taken"), PortFacts("b", "h", 2, "taken"))
    assert outcomes("ports", with_installation(ports=both)) == ["taken", "taken"]


def test_a_command_can_be_pasted_into_a_shell() -> None:
    commands = {
        finding.check: finding.command
        for finding in examine(
            with_programs(
                with_installation(keys="broken", keys_path="/my data/keys.json"), missing_packages=("gcc", "x-dev")
            )
        ).findings
    }
    assert commands["keys"] == "rm '/my data/keys.json'"
    assert commands["compiler"].endswith("install -y gcc x-dev")


def texts() -> Iterator[tuple[str, BothLanguages]]:
    for check in CHECKS:
        yield f"{check.name}: title", check.title
        yield f"{check.name}: means", check.means
        for name, outcome in check.outcomes.items():
            yield f"{check.name}.{name}", outcome.text
            yield f"{check.name}.{name}: mend", outcome.mend


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


def test_both_languages_say_the_same() -> None:
    for place, text in texts():
        assert bool(text.de) == bool(text.en), place
        # The plan's refusal is written in English; the German sentence has its numbers too.
        if place != "memory.too_small":
            assert placeholders(text.de) == placeholders(text.en), place


def test_whatever_is_wrong_has_a_remedy() -> None:
    for check in CHECKS:
        for name, outcome in check.outcomes.items():
            if outcome.mark in ("bad", "warning"):
                assert outcome.command or outcome.mend.en, f"{check.name}.{name}"
            if outcome.blocks:
                assert outcome.mark == "bad", f"{check.name}.{name}"
