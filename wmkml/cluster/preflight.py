"""What would keep a cluster from starting, told all at once and before anything is started.

Looks at ports, data sets, GPUs and the model's folder; changes nothing.
"""

from __future__ import annotations

import sys

from wmkml.cluster.arguments import PROJECT
from wmkml.cluster.plan import Plan
from wmkml.cluster.ports import is_free, user_of
from wmkml.cluster.supervision import is_writable
from wmkml.config import UNDERSTUDY
from wmkml.corpora import check_all, list_datasets, read_dataset
from wmkml.model_files import is_complete
from wmkml.pin import PinUnusable, load_pin

FREE_SHARE = 0.5
"""A GPU of which less than this is free is taken by somebody else."""


def problems(plan: Plan) -> list[str]:
    """A sentence for each thing that must be mended first; empty means that the cluster can start."""
    return [*_paths(plan), *_ports(plan), *_datasets(plan), *_gpus(plan), *_model(plan), *_pin(plan)]


def warnings(plan: Plan) -> list[str]:
    """What `verification_mode` finds in the prompt files, by file and line; nothing without it."""
    if not plan.settings.general.verification_mode:
        return []
    names = plan.settings.general.available_datasets or None
    found = [str(problem) for problem in check_all(plan.places.datasets, names)]
    return found or ["verification_mode: every prompt file is in order."]


def _paths(plan: Plan) -> list[str]:
    # Every path and name that stands in the programs' commands.
    wanted = {
        "The project's folder": PROJECT,
        "general.data_folder": plan.places.data,
        "general.model_name": plan.settings.general.model_name,
        "The Python of env/": sys.executable,
    }
    return [
        f"{key}: {value} holds a quotation mark, a line break or ' ;', which supervision cannot read; choose another."
        for key, value in wanted.items()
        if not is_writable(value)
    ]


def _ports(plan: Plan) -> list[str]:
    general, inference = plan.settings.general, plan.settings.inference
    wanted = [
        ("general.owner_port", general.owner_host, general.owner_port),
        ("general.inference_port", inference.inference_host, general.inference_port),
    ]
    told = []
    if general.owner_port == general.inference_port != 0:
        return [f"general.inference_port: {general.inference_port} is the owner's port too; give another one."]
    for key, host, port in wanted:
        try:
            free = is_free(host, port)
        except OSError as error:
            told.append(f"{key}: cannot listen on {host}:{port} ({error.strerror}); give another host or port.")
            continue
        if not free:
            told.append(f"{key}: port {port} is in use{user_of(port)}. End that program, or give another port.")
    return told


def _datasets(plan: Plan) -> list[str]:
    general, tuning = plan.settings.general, plan.settings.finetuning
    root = plan.places.datasets
    known = ", ".join(list_datasets(root)) or "none"
    used = dict.fromkeys(name for names in tuning.dataset_array[: tuning.num_total_iters] for name in names)
    told = []
    for key, name in [
        *(("general.available_datasets", name) for name in general.available_datasets),
        *(("finetuning.dataset_array", name) for name in used),
    ]:
        if not read_dataset(root, name).prompts:
            if (root / name).is_dir():
                told.append(f"{key}: the data set {name} holds no prompt that can be used; see {root / name}.")
            else:
                told.append(f"{key}: there is no data set {name} in {root}; there are: {known}.")
    if general.available_datasets:
        told += [
            f"finetuning.dataset_array: {name} is not among general.available_datasets; add it there, or take it out."
            for name in used
            if name not in general.available_datasets
        ]
    return told


def _gpus(plan: Plan) -> list[str]:
    used = {index for process in plan.processes for index in process.gpus}
    return [
        f"GPU {gpu.index} ({gpu.name}) is taken: {gpu.free_gib:.1f} of {gpu.memory_gib:.1f} GiB are free. "
        "End what runs on it, or choose others with CUDA_VISIBLE_DEVICES."
        for gpu in plan.machine.gpus
        if gpu.index in used and gpu.free_gib is not None and gpu.free_gib < FREE_SHARE * gpu.memory_gib
    ]


def _model(plan: Plan) -> list[str]:
    name, folder = plan.settings.general.model_name, plan.places.model
    if is_complete(folder) or needs_download(plan):
        return []
    if name == UNDERSTUDY:
        return [f"The understudy is not complete in {folder}. Fetch the project again, or build it (see README)."]
    return [f"general.model_name: {folder} is no complete model folder (config.json, tokenizer, safetensors)."]


def _pin(plan: Plan) -> list[str]:
    if not plan.places.pin.exists():
        return []
    try:
        load_pin(plan.places)
    except PinUnusable as error:
        return [str(error)]
    return []


def needs_download(plan: Plan) -> bool:
    """Whether the model is one of the hub's and not (wholly) here."""
    name = plan.settings.general.model_name
    of_hub = name != UNDERSTUDY and plan.places.model.parent == plan.places.models
    return of_hub and not is_complete(plan.places.model)
