"""The checks of GPUs: driver, torch, what compiles kernels, the plan's memory."""

from __future__ import annotations

from wmkml.doctor.check import CheckFinding, CheckOutcome, DoctorCheck, finding, good, unknown
from wmkml.doctor.facts import Facts
from wmkml.install.driver import CUDA12_DRIVER, CUDA13_DRIVER, CUDA129_PTX_DRIVER, OLDEST_CAPABILITY, PTX_CAPABILITY
from wmkml.problems.wording import BothLanguages
from wmkml.system.gpus import Version

INSTALL = "./master_script.sh install"
INSTALL_AGAIN = "./master_script.sh install --again"

NO_GPU = unknown("Keine NVIDIA-GPU; betrifft diesen Rechner nicht.", "No NVIDIA GPU; not for this machine.")
PRETENDED = unknown("Die GPUs sind nur vorgegeben (WMKML_GPUS).", "The GPUs are only pretended (WMKML_GPUS).")


def oldest_driver(cuda: str) -> Version | None:
    """The oldest driver that runs programs built for this CUDA; None: nothing is known of that version."""
    return {"13": CUDA13_DRIVER, "12": CUDA12_DRIVER}.get(cuda.partition(".")[0])


def judge_driver(facts: Facts) -> list[CheckFinding]:
    """Compare the driver with the CUDA that torch and vLLM are built for."""
    machine, programs = facts.machine, facts.programs
    if machine.gpus_pretended:
        return finding("pretended")
    if not machine.gpus:
        return finding("no_tool", count=machine.gpu_devices) if machine.gpu_devices else finding("no_gpu")
    old = [gpu for gpu in machine.gpus if gpu.capability and gpu.capability < OLDEST_CAPABILITY]
    if old:
        return finding("old_card", card=old[0].name, capability=_dotted(old[0].capability))
    driver = next((gpu.driver for gpu in machine.gpus if gpu.driver), None)
    cuda, cuda_of_vllm = programs.torch_cuda, programs.vllm_cuda
    if cuda is None or driver is None:
        return finding("unknown")
    if not cuda or cuda_of_vllm == "":
        return finding("built_for_cpu")
    if cuda_of_vllm and cuda_of_vllm.partition(".")[0] != cuda.partition(".")[0]:
        return finding("unlike", torch=cuda, vllm=cuda_of_vllm)
    needed = oldest_driver(cuda)
    if needed is None:
        return finding("unknown")
    by_ptx = any(gpu.capability is None or gpu.capability >= PTX_CAPABILITY for gpu in machine.gpus)
    if needed == CUDA12_DRIVER and by_ptx and not programs.compatibility:
        needed = CUDA129_PTX_DRIVER
    if driver < needed:
        return finding("too_old", driver=_dotted(driver), cuda=cuda, needed=needed[0])
    return finding("runs", driver=_dotted(driver), cuda=cuda)


def judge_torch(facts: Facts) -> list[CheckFinding]:
    """Compare the GPUs on which torch has computed with those that nvidia-smi lists."""
    listed, counted = len(facts.machine.gpus), facts.programs.gpus_of_torch
    if facts.machine.gpus_pretended:
        return finding("pretended")
    if not listed:
        return finding("no_gpu")
    if counted is None:
        return finding("unknown")
    if counted != listed:
        return finding("fewer", counted=counted, listed=listed, problem=facts.programs.torch_problem or "–")
    return finding("all", count=counted)


def judge_compiler(facts: Facts) -> list[CheckFinding]:
    """Whether Triton can compile: a C compiler and Python's headers."""
    missing = facts.programs.missing_packages
    if not facts.machine.gpus:
        return finding("no_gpu")
    if missing is None:
        return finding("unknown")
    return finding("missing", packages=" ".join(missing)) if missing else finding("here")


def judge_flashinfer(facts: Facts) -> list[CheckFinding]:
    """Whether FlashInfer can compile its sampler, or is not asked to."""
    programs = facts.programs
    if not facts.machine.gpus:
        return finding("no_gpu")
    if programs.nvcc is None:
        return finding("unknown")
    if programs.nvcc:
        return finding("compiles")
    return finding("forced") if programs.flashinfer_forced else finding("without")


def judge_engine(facts: Facts) -> list[CheckFinding]:
    """Whether the engine is the one that the machine can have."""
    if facts.installation is None:
        return finding("unknown")
    if facts.installation.engine == "vllm":
        return finding("vllm")
    return finding("slow") if facts.machine.gpus else finding("transformers")


def judge_memory(facts: Facts) -> list[CheckFinding]:
    """Whether every device can hold what the plan puts on it."""
    installation = facts.installation
    if installation is None or not installation.devices:
        return finding("unknown")
    too_small = [device for device in installation.devices if not device.fits]
    outcome = "may_not_fit" if installation.sizes_estimated else "too_small"
    if too_small:
        return [
            result
            for device in too_small
            for result in finding(
                outcome,
                device=device.name,
                needed=f"{device.needed_gib:.1f}",
                usable=f"{device.usable_gib:.1f}",
                refusal=device.refusal,
            )
        ]
    fullest = max(installation.devices, key=lambda device: device.needed_gib / max(device.usable_gib, 0.1))
    return finding("fits", device=fullest.name, needed=f"{fullest.needed_gib:.1f}", usable=f"{fullest.usable_gib:.1f}")


def judge_free_memory(facts: Facts) -> list[CheckFinding]:
    """Whether something else holds memory of the GPUs of the plan."""
    installation = facts.installation
    if not facts.machine.gpus:
        return finding("no_gpu")
    if installation is None or installation.taken_gpus is None:
        return finding("unknown")
    if installation.cluster_runs:
        return finding("in_use")
    return [
        result
        for gpu, needed in ((taken.gpu, taken.needed_gib) for taken in installation.taken_gpus)
        for result in finding(
            "taken",
            index=gpu.index,
            card=gpu.name,
            free=f"{gpu.free_gib or 0:.1f}",
            memory=f"{gpu.memory_gib:.1f}",
            needed=f"{needed:.1f}",
        )
    ] or finding("free")


def _dotted(version: Version | None) -> str:
    return "" if version is None else f"{version[0]}.{version[1]}"


DRIVER = DoctorCheck(
    "driver",
    BothLanguages("Treiber", "Driver"),
    BothLanguages(
        "torch und vLLM brauchen einen Treiber, der ihr CUDA ausführt. Ist er zu alt, antwortet nichts auf der GPU, und "
        "trainiert wird auf dem Prozessor, tausendmal zu langsam.",
        "torch and vLLM need a driver that runs their CUDA. With an older one nothing answers on the GPU, and training "
        "falls back to the CPU, a thousand times too slow.",
    ),
    judge_driver,
    {
        "runs": good("Treiber {driver} führt CUDA {cuda} aus.", "Driver {driver} runs CUDA {cuda}."),
        "no_gpu": NO_GPU,
        "pretended": PRETENDED,
        "unknown": unknown(
            "Version des Treibers oder das CUDA von torch ist nicht bekannt.",
            "The driver's version, or torch's CUDA, is not known.",
        ),
        "no_tool": CheckOutcome(
            "bad",
            BothLanguages(
                "Geräte einer NVIDIA-GPU sind da ({count}), aber nvidia-smi fehlt oder antwortet nicht.",
                "Device files of NVIDIA GPUs are here ({count}), but nvidia-smi is missing or does not answer.",
            ),
            BothLanguages(
                "Den Container mit den Werkzeugen des Treibers starten; auf eigener Maschine den Treiber neu laden (neu starten).",
                "Start the container with the driver's tools; on your own machine load the driver anew (restart it).",
            ),
            "docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility …",
        ),
        "old_card": CheckOutcome(
            "bad",
            BothLanguages(
                "{card} hat Compute Capability {capability}; vLLM beginnt bei 7.5 (Turing, 2018).",
                "{card} has compute capability {capability}; vLLM begins at 7.5 (Turing, 2018).",
            ),
            BothLanguages(
                "Andere Karten wählen, oder ohne GPU starten.", "Choose other cards, or start without a GPU."
            ),
            "CUDA_VISIBLE_DEVICES= ./master_script.sh",
        ),
        "built_for_cpu": CheckOutcome(
            "bad",
            BothLanguages("torch oder vLLM ist für den Prozessor gebaut.", "torch or vLLM is built for the CPU."),
            BothLanguages("Neu installieren: für diese GPU.", "Install anew: for this GPU."),
            INSTALL_AGAIN,
        ),
        "unlike": CheckOutcome(
            "bad",
            BothLanguages(
                "torch ist für CUDA {torch} gebaut, vLLM für CUDA {vllm}.",
                "torch is built for CUDA {torch}, vLLM for CUDA {vllm}.",
            ),
            BothLanguages("Beide aus einem Satz neu installieren.", "Install both anew, from one set."),
            INSTALL_AGAIN,
        ),
        "too_old": CheckOutcome(
            "bad",
            BothLanguages(
                "Treiber {driver} ist zu alt für CUDA {cuda}: nötig ist {needed}.",
                "Driver {driver} is too old for CUDA {cuda}, which needs {needed}.",
            ),
            BothLanguages(
                "Das Installationsprogramm nimmt Pakete, die zum Treiber passen; sonst Treiber 580 einspielen, oder einen "
                "Rechner mit neuerem Treiber mieten.",
                "The installer takes packages that fit the driver; else install driver 580, or rent a machine that has it.",
            ),
            INSTALL,
        ),
    },
)

TORCH = DoctorCheck(
    "torch",
    BothLanguages("torch und die GPUs", "torch and the GPUs"),
    BothLanguages(
        "Rechnet torch auf weniger GPUs, als nvidia-smi zählt, fehlen Karten für Antworten oder Training.",
        "Where torch computes on fewer GPUs than nvidia-smi counts, answers or training lack a card.",
    ),
    judge_torch,
    {
        "all": good("torch rechnet auf allen ({count}).", "torch computes on all of them ({count})."),
        "no_gpu": NO_GPU,
        "pretended": PRETENDED,
        "unknown": unknown(
            "Nicht gezählt; `python -m wmkml doctor` zählt.", "Not counted; `python -m wmkml doctor` counts."
        ),
        "fewer": CheckOutcome(
            "bad",
            BothLanguages(
                "nvidia-smi zählt {listed}, torch rechnet auf {counted} ({problem}).",
                "nvidia-smi counts {listed}, torch computes on {counted} ({problem}).",
            ),
            BothLanguages(
                "Treiber und CUDA_VISIBLE_DEVICES ansehen; der Container braucht alle /dev/nvidia*.",
                "Look at the driver and CUDA_VISIBLE_DEVICES; the container needs all of /dev/nvidia*.",
            ),
            "docker run --gpus all …",
        ),
    },
)

COMPILER = DoctorCheck(
    "compiler",
    BothLanguages("C-Compiler und Python.h", "C compiler and Python.h"),
    BothLanguages(
        "Triton, womit vLLM und torch rechnen, übersetzt beim ersten Start ein kleines C-Modul; ohne Compiler oder Python.h "
        "startet vLLM nicht.",
        "Triton, which vLLM and torch compute with, compiles a small C module at the first start; without a compiler or "
        "Python.h vLLM does not start.",
    ),
    judge_compiler,
    {
        "here": good("Beides ist da.", "Both are here."),
        "no_gpu": NO_GPU,
        "unknown": unknown("Nicht nachgesehen.", "Not looked at."),
        "missing": CheckOutcome(
            "bad",
            BothLanguages("Es fehlt: {packages}.", "Missing: {packages}."),
            BothLanguages("Als root einspielen.", "Install as root."),
            "sudo apt-get update && sudo apt-get install -y {packages}",
        ),
    },
)

FLASHINFER = DoctorCheck(
    "nvcc",
    BothLanguages("nvcc für FlashInfer", "nvcc for FlashInfer"),
    BothLanguages(
        "FlashInfer übersetzt seinen Sampler beim Start mit nvcc und c++. Ohne sie nimmt vLLM seinen eigenen, wofür der Plan "
        "sorgt; kein Unterschied in den Antworten.",
        "FlashInfer compiles its sampler at start, with nvcc and c++. Without them vLLM takes its own, which the plan sees "
        "to; the answers are the same.",
    ),
    judge_flashinfer,
    {
        "compiles": good("nvcc und c++ sind da.", "nvcc and c++ are here."),
        "without": good(
            "Kein nvcc oder c++: vLLM nimmt seinen eigenen Sampler.", "No nvcc or c++: vLLM takes its own sampler."
        ),
        "no_gpu": NO_GPU,
        "unknown": unknown("Nicht nachgesehen.", "Not looked at."),
        "forced": CheckOutcome(
            "bad",
            BothLanguages(
                "VLLM_USE_FLASHINFER_SAMPLER=1 ist gesetzt, aber nvcc oder c++ fehlt.",
                "VLLM_USE_FLASHINFER_SAMPLER=1 is set, but nvcc or c++ is missing.",
            ),
            BothLanguages("Die Variable wegnehmen.", "Take the variable away."),
            "unset VLLM_USE_FLASHINFER_SAMPLER",
        ),
    },
)

ENGINE = DoctorCheck(
    "engine",
    BothLanguages("Engine", "Engine"),
    BothLanguages(
        "vLLM antwortet vielen zugleich und auf mehreren GPUs; die transformers-Engine einem nach dem anderen, auf einer.",
        "vLLM answers many at once and on several GPUs; the transformers engine is slower, and uses one.",
    ),
    judge_engine,
    {
        "vllm": good("vLLM antwortet.", "vLLM answers."),
        "transformers": good(
            "transformers antwortet; ohne GPU genügt es der Zweitbesetzung.",
            "transformers answers; without a GPU that is enough for the understudy.",
        ),
        "unknown": unknown(
            "Ohne lesbare Einstellungen nicht zu sagen.", "Not to be told while the settings cannot be read."
        ),
        "slow": CheckOutcome(
            "warning",
            BothLanguages(
                "Es gibt eine GPU, aber transformers antwortet, nicht vLLM.",
                "There is a GPU, but transformers answers, not vLLM.",
            ),
            BothLanguages(
                "vLLM einspielen, oder `inference.engine: auto`.", "Install vLLM, or `inference.engine: auto`."
            ),
            INSTALL,
        ),
    },
)

MEMORY = DoctorCheck(
    "memory",
    BothLanguages("Speicher nach Plan", "Memory by the plan"),
    BothLanguages(
        "Was auf einer Karte nicht Platz hat, bricht mitten im Lauf ab; darum wird es gar nicht erst gestartet.",
        "What does not fit a card fails in the middle of a run, so it is not started at all.",
    ),
    judge_memory,
    {
        "fits": good(
            "Alles hat Platz; am vollsten: {device}, {needed} von {usable} GiB.",
            "Everything fits; the fullest: {device}, {needed} of {usable} GiB.",
        ),
        "unknown": unknown("Kein Plan.", "No plan."),
        "may_not_fit": CheckOutcome(
            "warning",
            BothLanguages(
                "{device}: nach einer Schätzung {needed} GiB, nutzbar {usable}.",
                "{device}: {needed} GiB by an estimate, {usable} can be used.",
            ),
            BothLanguages(
                "Nach dem Herunterladen wird neu gerechnet.", "It is reckoned anew when the model has been fetched."
            ),
            "./master_script.sh --plan",
        ),
        "too_small": CheckOutcome(
            "bad",
            BothLanguages(
                "{device}: {needed} GiB werden gebraucht, nutzbar sind {usable}. Aus dem Plan: {refusal}", "{refusal}"
            ),
            command="./master_script.sh --plan",
            blocks=True,
        ),
    },
)

FREE_MEMORY = DoctorCheck(
    "gpu-free",
    BothLanguages("Andere auf den GPUs", "Others on the GPUs"),
    BothLanguages(
        "Hält ein anderes Programm eine Karte, hat das Modell keinen Platz.",
        "Where another program holds a card, the model has no room.",
    ),
    judge_free_memory,
    {
        "free": good("Die GPUs sind frei.", "The GPUs are free."),
        "in_use": good("Diese Installation benutzt sie gerade.", "This installation is using them now."),
        "no_gpu": NO_GPU,
        "unknown": unknown("Freier Speicher nicht bekannt.", "Free memory is not known."),
        "taken": CheckOutcome(
            "bad",
            BothLanguages(
                "GPU {index} ({card}) ist belegt: {free} von {memory} GiB sind frei, und {needed} werden gebraucht.",
                "GPU {index} ({card}) is taken: {free} of {memory} GiB are free, and {needed} are needed.",
            ),
            BothLanguages(
                "Beenden, was darauf läuft, oder mit CUDA_VISIBLE_DEVICES andere wählen.",
                "End what runs on it, or choose others with CUDA_VISIBLE_DEVICES.",
            ),
            "nvidia-smi",
            blocks=True,
        ),
    },
)
