"""The plan of processes and devices for no, one, two, three and eight GPUs, and its printed form."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.launcher.plans import MISTRAL, machine, plan_for, process_of
from wmkml.__main__ import main
from wmkml.config.paths import SHIPPED_MODEL
from wmkml.engine.build import engine_setup
from wmkml.launcher.machine import detect_machine
from wmkml.launcher.memory.model import GIB, shape_of
from wmkml.launcher.plan import cache_variables
from wmkml.launcher.plan_text import plan_text
from wmkml.models.files import is_complete
from wmkml.system.gpus import GpusUnknownError, pretended_gpus, select_visible

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize(
    ("gpus", "engine", "worker", "parallel"),
    [
        (0, (), (), "1"),
        (1, (0,), (0,), "1"),
        (2, (0,), (1,), "1"),
        (3, (0, 1), (2,), "2"),
        (8, (0, 1, 2, 3, 4, 5, 6), (7,), "7"),
    ],
)
def test_the_worker_takes_the_last_gpu_and_the_engine_the_others(
    gpus: int, engine: tuple[int, ...], worker: tuple[int, ...], parallel: str
) -> None:
    plan = plan_for(machine(gpus))
    assert process_of(plan, "inference").gpus == engine
    assert process_of(plan, "worker").gpus == worker
    assert process_of(plan, "owner").gpus == ()
    assert process_of(plan, "inference").environment["WMKML_DATA_PARALLEL"] == parallel
    assert process_of(plan, "inference").environment["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, engine))
    assert process_of(plan, "worker").environment["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, worker))
    assert plan.processes[0].name == "owner"


@pytest.mark.parametrize("gpus", [0, 1, 2, 3, 8])
def test_every_gpu_is_a_device_and_every_program_holds_something(gpus: int) -> None:
    plan = plan_for(machine(gpus))
    assert len(plan.devices) == max(1, gpus)
    assert {held.process for device in plan.devices for held in device.holdings} >= {"inference", "worker"}
    for device in plan.devices:
        assert device.expected_gib == pytest.approx(sum(held.gib for held in device.holdings))


def test_the_transformers_engine_takes_one_gpu() -> None:
    plan = plan_for(machine(3), engine="transformers")
    assert process_of(plan, "inference").gpus == (0,)
    assert process_of(plan, "worker").gpus == (2,)
    assert any("transformers engine uses one GPU" in notice for notice in plan.notices)


@pytest.mark.parametrize(("cores", "engine", "worker"), [(1, 1, 1), (2, 1, 1), (4, 3, 1), (8, 4, 4), (32, 16, 16)])
def test_cores_are_shared_where_there_is_no_gpu(cores: int, engine: int, worker: int) -> None:
    plan = plan_for(machine(0, cores=cores))
    assert (process_of(plan, "inference").threads, process_of(plan, "worker").threads) == (engine, worker)


def test_the_threads_one_asks_for_win() -> None:
    plan = plan_for(machine(0, cores=8), inference={"cpu_threads": 6}, finetuning={"worker_threads": 2})
    assert (process_of(plan, "inference").threads, process_of(plan, "worker").threads) == (6, 2)


@pytest.mark.parametrize(("gpus", "engine", "worker"), [(1, 8, 8), (3, 8, 8), (8, 4, 8)])
def test_a_host_with_128_cores_is_not_filled_with_threads(gpus: int, engine: int, worker: int) -> None:
    plan = plan_for(machine(gpus, cores=128))
    for name, threads in (("inference", engine), ("worker", worker)):
        assert process_of(plan, name).threads == threads
        assert process_of(plan, name).environment["OMP_NUM_THREADS"] == str(threads)


def test_a_wish_for_other_gpus_than_there_are_is_told() -> None:
    assert any("wishes for 3; found: 8" in notice for notice in plan_for(machine(8)).notices)
    assert not any("available_gpus" in notice for notice in plan_for(machine(3)).notices)


def test_nothing_asks_the_hub_and_nothing_reports_home() -> None:
    for process in plan_for(machine(1)).processes:
        assert process.environment["HF_HUB_OFFLINE"] == "1"
        assert process.environment["VLLM_NO_USAGE_STATS"] == "1"


# --- the window ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("display", "osc", "opens"), [(True, False, True), (False, False, False), (True, True, False)])
def test_the_window_opens_only_where_nothing_else_shows_the_run(display: bool, osc: bool, opens: bool) -> None:
    general: dict[str, object] = {"osc_ip": "10.0.0.7", "osc_port": 9000} if osc else {}
    plan = plan_for(machine(0, display=display), general=general)
    assert ("gui" in {process.name for process in plan.processes}) == opens
    assert opens or any("gui.py" in notice for notice in plan.notices)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_understudys_weights_are_counted_as_they_are() -> None:
    assert is_complete(SHIPPED_MODEL)
    shape = shape_of("understudy", SHIPPED_MODEL)
    stored = sum(path.stat().st_size for path in SHIPPED_MODEL.glob("*.safetensors"))
    assert shape.parameters * 2 == pytest.approx(stored, rel=0.01)
    assert "config.json" in shape.source


def test_the_originals_model_is_known_before_it_is_downloaded() -> None:
    shape = shape_of(MISTRAL, Path("/nowhere"))
    assert shape.parameters == 7_248_023_552
    assert "not downloaded yet" in shape.source


@pytest.mark.parametrize(
    ("name", "billions"), [("org/model-13B-chat", 13), ("org/tiny-1.5b", 1.5), ("org/secret", 7.25)]
)
def test_an_unknown_model_is_estimated_and_said_to_be(name: str, billions: float) -> None:
    shape = shape_of(name, Path("/nowhere"))
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.25)
    assert "unknown until downloaded" in shape.source


def test_the_plan_counts_the_places_for_adapters_that_the_engine_has() -> None:
    plan = plan_for(machine(1), finetuning={"num_total_iters": 7})
    tuning = plan.settings.finetuning
    gib_of_adapter = plan.shape.lora_parameters(tuning.lora_target_modules, tuning.lora_r) * 2 / GIB
    planned = next(held.gib for held in plan.devices[0].holdings if held.part == "adapters of a run")
    assert planned == pytest.approx(engine_setup(plan.settings, plan.paths.model).adapters * gib_of_adapter)


# --- the printed plan ------------------------------------------------------------------------------------------------


def test_the_plan_names_everything_and_no_secret() -> None:
    general: dict[str, object] = {
        "hf_token": "hf_secret",
        "osc_ip": "10.0.0.7",
        "osc_port": 9000,
        "osc_hosts": ["10.0.0.8:9001"],
    }
    text = plan_text(plan_for(machine(3), general=general, finetuning={"batch_size": 128}))
    for part in (
        "GPUs 0, 1 (data parallel × 2)",
        "GPU 2",
        "vllm",
        MISTRAL,
        "owner 0.0.0.0:8000",
        "inference 127.0.0.1:8011",
        "10.0.0.7:9000, 10.0.0.8:9001",
        "/nowhere/data",
        "/nowhere/models/mistralai--Mistral-7B-Instruct-v0.3",
        "finetuning.batch_size = 128   (default 256)",
        "general.hf_token = ********",
        "pretended",
        "GiB",
    ):
        assert part in text
    assert "hf_secret" not in text


def check_plan(printed: str, gpus: str, folder: Path) -> None:
    assert ("understudy" if gpus == "0" else MISTRAL) in printed
    assert f"{gpus} GPU" in printed
    assert "finetuning.duration_of_a_run = 300" in printed
    assert [path.name for path in folder.iterdir()] == ["config.yaml"]


@pytest.mark.process
@pytest.mark.parametrize("gpus", ["0", "3"])
def test_plan_prints_and_starts_nothing(tmp_path: Path, gpus: str) -> None:
    (tmp_path / "config.yaml").write_text("finetuning: {duration_of_a_run: 300}\n")
    done = subprocess.run(
        ["./master_script.sh", "--plan", "--config", str(tmp_path / "config.yaml")],
        cwd=ROOT,
        env=os.environ | {"WMKML_GPUS": gpus},
        capture_output=True,
        text=True,
        check=True,
    )
    check_plan(done.stdout, gpus, tmp_path)


@pytest.mark.process  # it asks the machine
@pytest.mark.parametrize("gpus", ["1", "2", "8"])
def test_the_command_prints_the_plan_of_any_number_of_gpus(
    tmp_path: Path, gpus: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.yaml").write_text("finetuning: {duration_of_a_run: 300}\n")
    monkeypatch.setenv("WMKML_GPUS", gpus)
    assert not main(["cluster", "--plan", "--config", str(tmp_path / "config.yaml")])
    check_plan(capsys.readouterr().out, gpus, tmp_path)


@pytest.mark.process
def test_the_plan_loads_no_heavy_library() -> None:
    program = (
        "import sys; from wmkml.__main__ import main; main(['cluster', '--plan']); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'vllm', 'transformers', 'peft'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- the machine -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "left"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("2,0", [2, 0]),
        ("GPU-ab", []),
        ("-1", []),
        ("0,-1,2", [0]),
        ("1,", [1]),
        ("NoDevFiles", []),
    ],
)
def test_gpus_that_others_use_are_left_to_them(chosen: str | None, left: list[int]) -> None:
    assert [gpu.index for gpu in select_visible(pretended_gpus("3"), chosen)] == left


def test_an_environment_variable_replaces_detection() -> None:
    detected = detect_machine({"WMKML_GPUS": "2x24"})
    assert [(gpu.index, gpu.memory_gib) for gpu in detected.gpus] == [(0, 24.0), (1, 24.0)]
    assert detected.gpus_pretended
    with pytest.raises(GpusUnknownError, match="WMKML_GPUS=many is not allowed"):
        detect_machine({"WMKML_GPUS": "many"})


def test_what_gpus_need_is_given_to_the_programs_that_have_one() -> None:
    needs = {"VLLM_USE_FLASHINFER_SAMPLER": "0", "LD_LIBRARY_PATH": "/usr/local/cuda-12.9/compat"}
    plan = plan_for(replace(machine(3), gpu_environment=needs))
    for name in ("inference", "worker"):
        assert process_of(plan, name).environment.items() >= needs.items()
    assert not process_of(plan, "owner").environment.keys() & needs.keys()
    without = plan_for(replace(machine(0), gpu_environment=needs))
    assert not process_of(without, "inference").environment.keys() & needs.keys()


def test_what_is_compiled_for_gpus_is_kept_in_the_data_folder() -> None:
    for gpus, kept in ((3, True), (0, False)):
        plan = plan_for(machine(gpus))
        for name in ("inference", "worker"):
            folders = [process_of(plan, name).environment.get(variable) for variable in cache_variables(Path("/x"))]
            assert [str(folder).startswith("/nowhere/data/caches/") for folder in folders] == [kept] * len(folders)
    assert not process_of(plan_for(machine(3)), "owner").environment.keys() & cache_variables(Path("/x")).keys()


@pytest.mark.parametrize(("model", "seconds"), [("understudy", 600), (MISTRAL, 1320), ("org/model-70B", 6000)])
def test_a_large_model_on_a_slow_volume_has_time_to_be_read(model: str, seconds: int) -> None:
    planned = int(process_of(plan_for(machine(3), model=model), "inference").environment["VLLM_ENGINE_READY_TIMEOUT_S"])
    assert planned % 60 == 0
    assert planned == pytest.approx(seconds, rel=0.3)


def test_the_owner_is_told_of_the_gpus_that_it_does_not_see() -> None:
    owner = process_of(plan_for(machine(3)), "owner").environment
    assert (owner["CUDA_VISIBLE_DEVICES"], owner["WMKML_ALL_GPUS"]) == ("", "0,1,2")
    assert "WMKML_ALL_GPUS" not in process_of(plan_for(machine(0)), "owner").environment
