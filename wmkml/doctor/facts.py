"""The facts that the checks judge: observed beforehand, so that a check is pure and any machine can be described in a test.

What is None could not be found out, or was not looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from wmkml.system.gpus import Gpu

ModelState = Literal["complete", "to_fetch", "incomplete", "shipped_incomplete", "own_format", "no_tokenizer_library"]
"""`to_fetch`: of the hub, and fetched at start.  `own_format`: Mistral's `consolidated.safetensors` alone.
`no_tokenizer_library`: the only tokenizer is `tekken.json`, and mistral-common is not installed."""

FileState = Literal["absent", "readable", "broken", "forbidden", "open"]
"""`open`: others on this machine can read it too."""

PortState = Literal["free", "own", "taken", "refused", "same"]
"""`own`: the cluster of this installation listens there.  `refused`: this user may not listen there."""

OscRoute = Literal["local", "sent", "closed", "no_route"]
"""`sent`: a datagram left this machine, and nobody knows whether it arrived.  `closed`: the host answered that nobody listens."""


@dataclass(frozen=True)
class ProgramFacts:
    """The installed programs.

    Attributes:
        torch_cuda, vllm_cuda: the CUDA they are built for, as `13.0`; empty: the CPU; None: not installed, or not to be seen.
        gpus_of_torch: on how many GPUs torch has computed; `torch_problem`: what it said when it failed.
        missing_packages: Debian packages that bring a C compiler, Python's headers, or CUDA's compatibility libraries.
        nvcc: whether FlashInfer can compile.
        flashinfer_forced: VLLM_USE_FLASHINFER_SAMPLER asks for it.
        compatibility: CUDA's forward-compatibility libraries are loaded in place of the driver's.
    """

    torch_cuda: str | None = None
    vllm_cuda: str | None = None
    gpus_of_torch: int | None = None
    torch_problem: str = ""
    missing_packages: tuple[str, ...] | None = None
    nvcc: bool | None = None
    flashinfer_forced: bool = False
    compatibility: bool = False


@dataclass(frozen=True)
class MachineFacts:
    """The machine.

    Attributes:
        gpus: that this process may use; `gpus_pretended`: by WMKML_GPUS.
        gpu_devices: device files of NVIDIA's driver, which a container has or has not.
        shm_gib: size of /dev/shm.
        visible_cores, usable_cores: without and with the CPU quota of control groups.
        omp_threads: OMP_NUM_THREADS of this shell; empty: not set.
        provider: whose rented machine this is, by its environment; empty: not known.
    """

    gpus: tuple[Gpu, ...] = ()
    gpus_pretended: bool = False
    gpu_devices: int = 0
    shm_gib: float | None = None
    visible_cores: int = 1
    usable_cores: int = 1
    omp_threads: str = ""
    provider: str = ""


@dataclass(frozen=True)
class PortFacts:
    """A port that a service is to listen on; `reason`: who has it, or why it cannot be used."""

    key: str
    host: str
    port: int
    state: PortState
    reason: str = ""


@dataclass(frozen=True)
class OscFacts:
    """The way to an OSC host."""

    host: str
    port: int
    route: OscRoute


@dataclass(frozen=True)
class DeviceFacts:
    """A GPU, or the machine's memory, by the plan, in GiB; `refusal`: the plan's own sentence if it cannot hold all; English."""

    name: str
    needed_gib: float
    usable_gib: float
    fits: bool
    refusal: str = ""


@dataclass(frozen=True)
class DatasetFacts:
    """A data set that cannot be used as the settings want it; `known`: the names of those that are there."""

    key: str
    name: str
    problem: Literal["absent", "empty", "not_available", "adult"]
    folder: str
    known: str = ""


@dataclass(frozen=True)
class TakenGpu:
    """A GPU with less free memory than this installation needs there, in GiB."""

    gpu: Gpu
    needed_gib: float


@dataclass(frozen=True)
class InstallationFacts:
    """What settings, folders and the plan say.

    Attributes:
        cluster_runs: of this installation, now.
        unwritable_names: settings and their values that supervision cannot read.
        data_problem: why the data folder cannot be written; empty: it can.
        disk_free_gib: where the data folder is; `model_disk_free_gib`: where models are.
        download_gib: size of a model that is still to be fetched, estimated; 0: none is.
        read_mib_s: speed of reading the model's weights from their disk, in MiB/s, without the page cache.
        weights_gib: of the model's weights as stored.
        ready_timeout_s: how long the plan lets vLLM start.
        devices: every GPU of the plan, or the machine's memory.
        sizes_estimated: the model's size is guessed from its name.
        taken_gpus: GPUs of the plan of whose memory something else uses too much; None: not known.
        engine_gpus, training_gpus: how many GPUs serve, and how many train.
        engine_threads, worker_threads: of the plan.
        pages_built: the web pages are there.
        trusts_addresses: some requests are trusted for the address they come from.
        loopback_only: the owner listens on this machine's loopback address.
        certificate_problem: why the owner's certificate cannot be used; empty if it can, or if there is none.
        certificate_days: until it runs out, below 0 afterwards; None: there is none.
        held_back: where entries of the word lists are not repeated: the switches of `decency` that are on.
        decency_asked: the question at the installation was answered, or made needless by a switch.
    """

    cluster_runs: bool = False
    unwritable_names: tuple[tuple[str, str], ...] = ()
    data_folder: str = ""
    data_problem: str = ""
    disk_free_gib: float | None = None
    model_name: str = ""
    model_folder: str = ""
    model_state: ModelState | None = None
    model_disk_free_gib: float | None = None
    download_gib: float = 0.0
    read_mib_s: float | None = None
    weights_gib: float = 0.0
    ready_timeout_s: int = 0
    keys: FileState = "absent"
    keys_path: str = ""
    pin: FileState = "absent"
    pin_path: str = ""
    ports: tuple[PortFacts, ...] = ()
    osc: tuple[OscFacts, ...] = ()
    datasets: tuple[DatasetFacts, ...] = ()
    devices: tuple[DeviceFacts, ...] = ()
    sizes_estimated: bool = False
    taken_gpus: tuple[TakenGpu, ...] | None = None
    engine: str = ""
    engine_gpus: int = 0
    training_gpus: int = 0
    engine_threads: int = 0
    worker_threads: int = 0
    pages_built: bool = True
    trusts_addresses: bool = False
    loopback_only: bool = False
    certificate_problem: str = ""
    certificate_days: int | None = None
    held_back: tuple[str, ...] = ()
    decency_asked: bool = False


@dataclass(frozen=True)
class Facts:
    """Everything that is known.  `installation`: None where the settings cannot be read; `settings_problem` says why."""

    machine: MachineFacts
    programs: ProgramFacts
    installation: InstallationFacts | None
    settings_problem: str = ""
