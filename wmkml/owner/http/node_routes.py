"""What a node asks the head before it starts: which model it shall serve, and with which adapters.  Needs the node key."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request

from wmkml.access.node_key import load_node_key
from wmkml.models.fingerprint import model_fingerprint
from wmkml.owner.context import OwnerContext
from wmkml.owner.http.http_requests import require_key
from wmkml.protocol.base import RequestRefusedError
from wmkml.protocol.inference import NodeSettings


def add_node_routes(app: FastAPI, owner: OwnerContext) -> None:
    """Add the route, where the settings name nodes."""
    if not owner.settings.inference.nodes:
        return

    @app.get("/node/settings")
    async def node_settings(request: Request) -> NodeSettings:
        require_key(request, "node", load_node_key(owner.paths))
        tuning, inference = owner.settings.finetuning, owner.settings.inference
        try:
            fingerprint = await asyncio.to_thread(model_fingerprint, owner.paths.model)
        except OSError:
            raise RequestRefusedError(503, "The model is not here yet; ask again when it is downloaded.") from None
        return NodeSettings(
            model_name=owner.settings.general.model_name,
            fingerprint=fingerprint,
            num_total_iters=tuning.num_total_iters,
            lora_r=tuning.lora_r,
            lora_target_modules=tuning.lora_target_modules,
            max_model_len=inference.max_model_len,
            dtype=inference.dtype,
        )
