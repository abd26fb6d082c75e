"""What runs where: the plan for no GPU, one, two, three and eight, and how it is told."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.cluster.machine import Gpu, Machine, MachineError, detect, gpus_told, memory_gib, pretended_gpus, visible
from wmkml.cluster.memory import GIB, shape_of
from wmkml.cluster.plan import Plan, Process, make_plan
from wmkml.cluster.plan_text import told
from wmkml.config import Settings
from wmkml.engine.building import engine_setup
from wmkml.model_files import is_complete
from wmkml.places import SHIPPED_MODEL, places

ROOT = Path(__file__).parent.parent
MISTRAL = "mistralai/Mistral-7B-Instruct-v0.3"


def machine(gpus: int, gib: float = 80.0, cores: int = 32, display: bool = False) -> Machine:
    return Machine(pretended_gpus(f"{gpus}x{gib:g}"), cores, 256.0, display, vllm=True, gpus_pretended=True)


def plan(here: Machine, model: str = MISTRAL, engine: str = "vllm", **sections: dict[str, object]) -> Plan:
    content = {name: dict(values) for name, values in sections.items()}
    content.setdefault("general", {}).setdefault("model_name", model)
    content.setdefault("inference", {}).setdefault("engine", engine)
    settings = Settings.model_validate(content)
    where = places(settings, Path("/nowhere"))
    return make_plan(settings, here, where, shape_of(settings.general.model_name, where.model))


def of(made: Plan, name: str) -> Process:
    (found,) = [process for process in made.processes if process.name == name]
    return found


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
    made = plan(machine(gpus))
    assert of(made, "inference").gpus == engine
    assert of(made, "worker").gpus == worker
    assert of(made, "owner").gpus == ()
    assert of(made, "inference").environment["WMKML_DATA_PARALLEL"] == parallel
    assert of(made, "inference").environment["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, engine))
    assert of(made, "worker").environment["CUDA_VISIBLE_DEVICES"] == ",".join(map(str, worker))
    assert made.processes[0].name == "owner"


@pytest.mark.parametrize(("gpus", "share"), [(0, 0.9), (1, 0.45), (2, 0.9), (8, 0.9)])
def test_the_engines_share_of_a_gpu_is_halved_only_where_it_is_shared(gpus: int, share: float) -> None:
    assert plan(machine(gpus)).settings.inference.gpu_memory_utilization == pytest.approx(share)


@pytest.mark.parametrize("gpus", [0, 1, 2, 3, 8])
def test_every_gpu_is_a_device_and_every_program_holds_something(gpus: int) -> None:
    made = plan(machine(gpus))
    assert len(made.devices) == max(1, gpus)
    assert {held.process for device in made.devices for held in device.holdings} >= {"inference", "worker"}
    for device in made.devices:
        assert device.expected_gib == pytest.approx(sum(held.gib for held in device.holdings))


def test_the_transformers_engine_takes_one_gpu() -> None:
    made = plan(machine(3), engine="transformers")
    assert of(made, "inference").gpus == (0,)
    assert of(made, "worker").gpus == (2,)
    assert any("transformers engine uses one GPU" in notice for notice in made.notices)


@pytest.mark.parametrize(("cores", "engine", "worker"), [(1, 1, 1), (2, 1, 1), (4, 3, 1), (8, 4, 4), (32, 16, 16)])
def test_cores_are_shared_where_there_is_no_gpu(cores: int, engine: int, worker: int) -> None:
    made = plan(machine(0, cores=cores))
    assert (of(made, "inference").threads, of(made, "worker").threads) == (engine, worker)


def test_the_threads_one_asks_for_win() -> None:
    made = plan(machine(0, cores=8), inference={"cpu_threads": 6}, finetuning={"worker_threads": 2})
    assert (of(made, "inference").threads, of(made, "worker").threads) == (6, 2)


def test_a_wish_for_other_gpus_than_there_are_is_told() -> None:
    assert any("wishes for 3; found: 8" in notice for notice in plan(machine(8)).notices)
    assert not any("available_gpus" in notice for notice in plan(machine(3)).notices)


def test_nothing_asks_the_hub_and_nothing_reports_home() -> None:
    for process in plan(machine(1)).processes:
        assert process.environment["HF_HUB_OFFLINE"] == "1"
        assert process.environment["VLLM_NO_USAGE_STATS"] == "1"


# --- the window ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("display", "osc", "opens"), [(True, False, True), (False, False, False), (True, True, False)])
def test_the_window_opens_only_where_nothing_else_shows_the_run(display: bool, osc: bool, opens: bool) -> None:
    general: dict[str, object] = {"osc_ip": "10.0.0.7", "osc_port": 9000} if osc else {}
    made = plan(machine(0, display=display), general=general)
    assert ("gui" in {process.name for process in made.processes}) == opens
    assert opens or any("gui.py" in notice for notice in made.notices)


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_understudys_weights_are_counted_as_they_are() -> None:
    assert is_complete(SHIPPED_MODEL)
    shape = shape_of("understudy", SHIPPED_MODEL)
    stored = sum(path.stat().st_size for path in SHIPPED_MODEL.glob("*.safetensors"))
    assert shape.parameters * 2 == pytest.approx(stored, rel=0.01)
    assert "config.json" in shape.known


def test_the_originals_model_is_known_before_it_is_downloaded() -> None:
    shape = shape_of(MISTRAL, Path("/nowhere"))
    assert shape.parameters == 7_248_023_552
    assert "not downloaded yet" in shape.known


@pytest.mark.parametrize(
    ("name", "billions"), [("org/model-13B-chat", 13), ("org/tiny-1.5b", 1.5), ("org/secret", 7.25)]
)
def test_an_unknown_model_is_estimated_and_said_to_be(name: str, billions: float) -> None:
    shape = shape_of(name, Path("/nowhere"))
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.25)
    assert "unknown until downloaded" in shape.known


def test_the_worker_chooses_nf4_where_bfloat16_does_not_fit() -> None:
    def parts(gib: float) -> set[str]:
        return {
            held.part
            for device in plan(machine(2, gib)).devices
            for held in device.holdings
            if held.process == "worker"
        }

    assert "weights (bfloat16)" in parts(80)
    assert "weights (nf4)" in parts(16)


def test_what_does_not_fit_is_told() -> None:
    assert any("may not fit" in notice for notice in plan(machine(1, 16)).notices)
    assert not any("may not fit" in notice for notice in plan(machine(3, 80)).notices)


def test_the_engine_fills_the_share_it_was_given() -> None:
    device = plan(machine(3)).devices[0]
    assert device.expected_gib == pytest.approx(0.9 * 80)
    assert plan(machine(3)).shape.kv_bytes_a_token == 2 * 2 * 32 * 8 * 128
    assert GIB == 1 << 30


def test_the_plan_counts_the_places_for_adapters_that_the_engine_has() -> None:
    made = plan(machine(1), finetuning={"num_total_iters": 7})
    tuning = made.settings.finetuning
    one = made.shape.lora_parameters(tuning.lora_target_modules, tuning.lora_r) * 2 / GIB
    planned = next(held.gib for held in made.devices[0].holdings if held.part == "adapters of a run")
    assert planned == pytest.approx(engine_setup(made.settings, made.places.model).adapters * one)


# --- how it is told --------------------------------------------------------------------------------------------------


def test_the_plan_names_everything_and_no_secret() -> None:
    general: dict[str, object] = {
        "hf_token": "hf_secret",
        "osc_ip": "10.0.0.7",
        "osc_port": 9000,
        "osc_hosts": ["10.0.0.8:9001"],
    }
    text = told(plan(machine(3), general=general, finetuning={"batch_size": 128}))
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


@pytest.mark.parametrize("gpus", ["0", "1", "2", "3", "8"])
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
    assert ("understudy" if gpus == "0" else MISTRAL) in done.stdout
    assert f"{gpus} GPU" in done.stdout
    assert "finetuning.duration_of_a_run = 300" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_the_plan_loads_no_heavy_library() -> None:
    program = (
        "import sys; from wmkml.__main__ import main; main(['cluster', '--plan']); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'vllm', 'transformers', 'peft'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# --- the machine -----------------------------------------------------------------------------------------------------


def test_nvidias_tool_is_understood() -> None:
    answer = "0, NVIDIA A100-SXM4-80GB, 81920, 81000\n1, NVIDIA A100-SXM4-80GB, 81920, 1024\n"
    assert gpus_told(answer) == (
        Gpu(0, "NVIDIA A100-SXM4-80GB", 80.0, 81000 / 1024),
        Gpu(1, "NVIDIA A100-SXM4-80GB", 80.0, 1.0),
    )
    assert gpus_told("NVIDIA-SMI has failed\n") == ()
    (shared,) = gpus_told("0, NVIDIA GB10, [N/A], [N/A]\n")
    assert (shared.index, shared.free_gib, shared.memory_gib) == (0, None, pytest.approx(memory_gib()))


@pytest.mark.parametrize(("chosen", "left"), [(None, [0, 1, 2]), ("", []), ("2,0", [2, 0]), ("GPU-ab", [0, 1, 2])])
def test_gpus_that_others_use_are_left_to_them(chosen: str | None, left: list[int]) -> None:
    assert [gpu.index for gpu in visible(pretended_gpus("3"), chosen)] == left


def test_an_environment_variable_replaces_detection() -> None:
    found = detect({"WMKML_GPUS": "2x24"})
    assert [(gpu.index, gpu.memory_gib) for gpu in found.gpus] == [(0, 24.0), (1, 24.0)]
    assert found.gpus_pretended
    with pytest.raises(MachineError, match="WMKML_GPUS=many is not allowed"):
        detect({"WMKML_GPUS": "many"})
