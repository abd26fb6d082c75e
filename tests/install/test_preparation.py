"""What must be there before the packages, and what is checked after them: tools, free space, and every GPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from wmkml.config.paths import PROJECT as ROOT
from wmkml.install import decision, free_space, installer, steps, toolchain
from wmkml.install.decision import Decision
from wmkml.install.driver import COMPATIBILITY_PACKAGE, Card
from wmkml.install.gpu_check import GpusNotReachedError, check_gpus
from wmkml.system.gpu_environment import find_nvcc, gpu_environment, with_folder


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


class Usage:
    """A stand-in for a disk with this many GiB free."""

    def __init__(self, gib: float) -> None:
        self.free = gib * free_space.GIB


def test_a_slim_image_lacks_compiler_headers_and_compatibility(tmp_path: Path) -> None:
    missing = toolchain.missing_packages(
        {"PATH": str(tmp_path)}, tmp_path, compatibility=True, library_path=tmp_path / "compat"
    )
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert list(missing) == ["gcc", f"libpython{version}-dev", COMPATIBILITY_PACKAGE]
    assert "no C compiler" in missing["gcc"]
    assert f"{tmp_path} has no Python.h" in missing[f"libpython{version}-dev"]


@pytest.mark.parametrize("name", ["gcc", "clang", "cc", "CC"])
def test_what_is_there_is_not_missing(tmp_path: Path, name: str) -> None:
    environment = {"PATH": str(tmp_path / "bin")}
    if name == "CC":
        environment["CC"] = str(program(tmp_path / "elsewhere" / "my-compiler"))
    else:
        program(tmp_path / "bin" / name)
    (tmp_path / "Python.h").touch()
    (tmp_path / "libcuda.so.575.57").touch()
    assert toolchain.missing_packages(environment, tmp_path, compatibility=True, library_path=tmp_path) == {}


def test_the_advice_is_one_command() -> None:
    advice = toolchain.advice({"gcc": "", COMPATIBILITY_PACKAGE: ""})
    assert advice.startswith(f"sudo apt-get update && sudo apt-get install gcc {COMPATIBILITY_PACKAGE}")
    assert "NVIDIA's package repository" in advice
    assert "repository" not in toolchain.advice({"gcc": ""})


def test_without_apt_it_says_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "can_install", lambda: None)
    with pytest.raises(toolchain.ToolMissingError, match=r"no C compiler.* As root: sudo apt-get .* install gcc"):
        toolchain.install_packages({"gcc": "there is no C compiler, which Triton needs"})


@pytest.mark.process
def test_apt_is_called_as_root_and_its_failure_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = tmp_path / "calls"
    # A stand-in for apt-get: it notes how it is called, and knows gcc alone.
    apt = program(
        tmp_path / "apt-get",
        f'#!/bin/sh\necho "$*" >>{calls}\ncase "$*" in *cuda*) echo "E: Unable to locate package" >&2; exit 100 ;; esac\n',
    )
    monkeypatch.setattr(toolchain, "can_install", lambda: str(apt))
    toolchain.install_packages({"gcc": "there is no C compiler"})
    assert calls.read_text().splitlines() == ["update -q", "install -y -q gcc"]
    with pytest.raises(toolchain.ToolMissingError, match=r"E: Unable to locate package.*By hand: sudo apt-get"):
        toolchain.install_packages({COMPATIBILITY_PACKAGE: "no libcuda.so"})


def test_tools_are_for_gpus_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def all_missing(*, compatibility: bool) -> dict[str, str]:
        return {"gcc": "there is no C compiler", **({COMPATIBILITY_PACKAGE: "no libcuda"} if compatibility else {})}

    installed: list[str] = []
    monkeypatch.setattr(toolchain, "packages_missing_here", all_missing)
    monkeypatch.setattr(toolchain, "install_packages", installed.extend)
    monkeypatch.setattr(free_space, "check", lambda *_, **__: None)
    decision.prepare(Decision("cpu", ""), tmp_path, lambda _: None, anew=True)
    assert installed == []
    decision.prepare(Decision("cuda12", "", 1, compatibility=True), tmp_path, lambda _: None, anew=True)
    assert installed == ["gcc", COMPATIBILITY_PACKAGE]


def test_room_on_one_file_system_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    wanted = free_space.needs("cuda", tmp_path / "env", {"PIP_CACHE_DIR": str(tmp_path / "cache" / "pip")})
    assert [(purpose, gib) for purpose, _, gib in wanted] == [
        ("env/", 12.0),
        ("pip's downloads", 5.0),
        ("pip's cache", 5.0),
    ]
    assert {folder for _, folder, _ in wanted} == {tmp_path}, "none of the folders is there yet"
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(21.5))
    assert free_space.shortages(wanted) == [
        f"{tmp_path} has 21.5 GiB free, and 22 are needed there (env/ 12, pip's downloads 5, pip's cache 5): "
        "0.5 GiB are missing."
    ]
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(22))
    assert free_space.shortages(wanted) == []


def test_pips_cache_takes_nothing_where_it_is_turned_off(tmp_path: Path) -> None:
    purposes = [purpose for purpose, _, _ in free_space.needs("cpu", tmp_path / "env", {"PIP_NO_CACHE_DIR": "1"})]
    assert purposes == ["env/", "pip's downloads"]


def test_what_env_holds_already_needs_no_room() -> None:
    [env, downloads, cache] = free_space.needs("cuda", Path("/"), {}, held_gib=11.5)
    assert (env[2], downloads[2], cache[2]) == (1.0, 1.0, 1.0)
    assert free_space.needs("cuda", Path("/"), {}, held_gib=4.0)[0][2] == 8.0


def test_a_full_disk_is_an_error_before_pip_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(1))
    monkeypatch.setattr(installer, "_pip", lambda *_: pytest.fail("pip was called"))
    with pytest.raises(free_space.NoSpaceError, match=r"are missing\. Make room there"):
        installer.install(tmp_path / "env", tests=False)
    assert not (tmp_path / "env").exists()


@pytest.mark.process
def test_a_folders_size_is_what_it_takes_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").write_bytes(b"x" * 2**20)
    (tmp_path / "link").hardlink_to(tmp_path / "a" / "file")
    du = int(subprocess.run(["du", "-sk", tmp_path], capture_output=True, text=True, check=True).stdout.split()[0])
    assert free_space.size_gib(tmp_path) == pytest.approx(du / 2**20, abs=32 / 2**20)


@pytest.mark.process
def test_a_torch_that_reaches_no_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the real torch of these tests, which is built for the CPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(GpusNotReachedError) as refusal:
        check_gpus(Path(sys.executable), 3, None)
    text = str(refusal.value)
    assert "nvidia-smi counts 3 GPUs for use, and torch computes on 0 (" in text
    assert "CUDA_VISIBLE_DEVICES (is '0,1,2')" in text
    assert "--gpus all" in text


@pytest.mark.process
def test_as_many_gpus_as_expected_are_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for a Python whose torch reaches three GPUs when the driver's stand-in is loaded first.
    answer = '#!/bin/sh\ncase "$LD_LIBRARY_PATH" in /compat*) n=3 ;; *) n=1 ;; esac\necho "{\\"count\\": $n, \\"problem\\": null}"\n'
    python = program(tmp_path / "python", answer)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/other")
    check_gpus(python, 3, Path("/compat"))
    with pytest.raises(GpusNotReachedError, match=r"counts 3 GPUs for use, and torch computes on 1\. What"):
        check_gpus(python, 3, None)


@pytest.mark.process
def test_a_torch_that_dies_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    python = program(tmp_path / "python", "#!/bin/sh\necho 'libcudart.so.13: cannot open' >&2\nexit 1\n")
    with pytest.raises(GpusNotReachedError, match=r"on 0 \(libcudart\.so\.13: cannot open\)"):
        check_gpus(python, 1, None)


@pytest.mark.process
def test_nothing_is_finished_until_torch_reaches_every_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A stand-in for a Python in which everything can be imported and torch reaches one GPU.
    program(
        tmp_path / "bin" / "python", '#!/bin/sh\ncase "$2" in *cuda*) echo \'{"count": 1, "problem": null}\' ;; esac\n'
    )
    monkeypatch.setattr(installer, "_pip", lambda *_: None)
    progress = installer.ProgressLog()
    with pytest.raises(GpusNotReachedError, match="counts 3 GPUs"):
        installer._install_steps(tmp_path, Decision("cuda12", "", 3), tests=False, progress=progress)
    assert not (tmp_path / "installed.json").exists()
    installer._install_steps(tmp_path, Decision("cuda12", "", 1, compatibility=True), tests=False, progress=progress)
    stamp = installer.read_stamp(tmp_path)
    assert stamp is not None
    assert (stamp["flavour"], stamp["library_path"]) == ("cuda12", "/usr/local/cuda-12.9/compat")


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A finished environment of an H100 with driver 550, kept beside a container whose programs are those of now."""
    env = tmp_path / "env"
    # A stand-in for a Python whose torch reaches two GPUs.
    program(env / "bin" / "python", '#!/bin/sh\necho \'{"count": 2, "problem": null}\'\n')
    compat = tmp_path / "compat"
    compat.mkdir()
    monkeypatch.setattr(decision, "COMPATIBILITY_FOLDER", compat)
    monkeypatch.setattr(toolchain, "packages_missing_here", lambda **_: {})
    monkeypatch.setattr(installer, "_pip", lambda *_: pytest.fail("pip was called"))
    digest = steps.digest(ROOT, "cuda12", tests=False)
    stamp = {"digest": digest, "flavour": "cuda12", "tests": False, "gpus": 2, "driver": "550.54"}
    (env / "installed.json").write_text(json.dumps(stamp | {"library_path": str(compat)}), encoding="utf-8")
    return env


def machine_with(monkeypatch: pytest.MonkeyPatch, driver: tuple[int, int], gpus: int) -> None:
    cards = tuple(Card("NVIDIA H100 80GB HBM3", driver, (9, 0)) for _ in range(gpus))
    monkeypatch.setattr(installer, "usable_cards", lambda _: cards)


@pytest.mark.process
def test_an_environment_that_is_kept_is_checked_on_another_machine_and_not_on_its_own(
    kept: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    machine_with(monkeypatch, (550, 54), 2)
    installer.install(kept, tests=False)
    assert capsys.readouterr().out == "", "nothing to do"
    machine_with(monkeypatch, (550, 54), 3)
    for _ in range(2):
        with pytest.raises(GpusNotReachedError, match="counts 3 GPUs for use, and torch computes on 2"):
            installer.install(kept, tests=False)
    machine_with(monkeypatch, (580, 65), 2)
    installer.install(kept, tests=False)
    assert "torch computes on all 2 GPUs" in capsys.readouterr().out
    stamp = installer.read_stamp(kept)
    assert stamp is not None
    assert (stamp["gpus"], stamp["driver"], "library_path" in stamp) == (2, "580.65", False), "its own driver serves"
    installer.install(kept, tests=False)
    assert capsys.readouterr().out == ""


def test_a_fresh_container_beside_a_kept_environment_gets_its_tools(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compat").rmdir()
    missing = {"gcc": "there is no C compiler", COMPATIBILITY_PACKAGE: "no libcuda"}
    monkeypatch.setattr(toolchain, "packages_missing_here", lambda **_: missing)
    monkeypatch.setattr(toolchain, "can_install", lambda: None)
    machine_with(monkeypatch, (550, 54), 2)
    with pytest.raises(toolchain.ToolMissingError, match=f"As root: sudo apt-get .* gcc {COMPATIBILITY_PACKAGE}"):
        installer.install(kept, tests=False)
    installed: list[str] = []

    def install(packages: dict[str, str]) -> None:
        installed.extend(packages)
        (tmp_path / "compat").mkdir()

    monkeypatch.setattr(toolchain, "install_packages", install)
    installer.install(kept, tests=False)
    assert installed == ["gcc", COMPATIBILITY_PACKAGE]
    machine_with(monkeypatch, (550, 54), 0)
    installer.install(kept, tests=False)
    assert installed == ["gcc", COMPATIBILITY_PACKAGE], "without a GPU nothing is compiled"


def test_the_flashinfer_sampler_is_for_machines_with_nvcc_and_a_compiler(tmp_path: Path) -> None:
    bare = {"PATH": str(tmp_path / "none"), "CUDA_HOME": str(tmp_path / "cuda")}
    if find_nvcc(bare) is None:  # Where /usr/local/cuda is, nothing takes nvcc away.
        assert gpu_environment(bare, tmp_path) == {"VLLM_USE_FLASHINFER_SAMPLER": "0"}
    program(tmp_path / "cuda" / "bin" / "nvcc")
    assert gpu_environment(bare, tmp_path) == {"VLLM_USE_FLASHINFER_SAMPLER": "0"}, "nvcc needs a C++ compiler"
    program(tmp_path / "none" / "c++")
    assert gpu_environment(bare, tmp_path) == {}


def test_what_the_operator_says_of_the_sampler_stays(tmp_path: Path) -> None:
    chosen = {"PATH": str(tmp_path), "VLLM_USE_FLASHINFER_SAMPLER": "1"}
    assert gpu_environment(chosen, tmp_path).get("VLLM_USE_FLASHINFER_SAMPLER", "1") == "1"


def test_the_drivers_stand_in_is_loaded_first_where_it_was_installed(tmp_path: Path) -> None:
    environment = {"PATH": str(tmp_path), "LD_LIBRARY_PATH": "/other"}
    assert "LD_LIBRARY_PATH" not in gpu_environment(environment, tmp_path), "there is no stamp"
    compat = tmp_path / "compat"
    (tmp_path / "installed.json").write_text(f'{{"library_path": "{compat}"}}', encoding="utf-8")
    assert "LD_LIBRARY_PATH" not in gpu_environment(environment, tmp_path), "the folder is gone"
    compat.mkdir()
    assert gpu_environment(environment, tmp_path)["LD_LIBRARY_PATH"] == f"{compat}:/other"
    assert with_folder("/a", "/b:/a::/c") == "/a:/b:/c"
