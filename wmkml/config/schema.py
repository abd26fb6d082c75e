"""All settings together: what they must agree on, and what follows from several of them.

The keys themselves are declared in `wmkml/config/sections/`; the tables in `docs/settings.md` are generated from there.
"""

from __future__ import annotations

import ipaddress

from pydantic import Field, model_validator

from wmkml.config.sections.declaring import Section
from wmkml.config.sections.finetuning import Finetuning
from wmkml.config.sections.general import General
from wmkml.config.sections.inference import Inference
from wmkml.config.sections.public import Decency, Privacy

NODE_PORT = 8011
"""Where a node listens that is named without a port."""


def _with_port(node: str) -> str:
    # An IPv6 address stands in brackets where a port follows.
    has_port = "]:" in node or (node.count(":") == 1)
    return node if has_port else f"{node}:{NODE_PORT}"


class Settings(Section):
    """All settings: those of config.yaml, and defaults for the others."""

    general: General = Field(default_factory=General)
    finetuning: Finetuning = Field(default_factory=Finetuning)
    inference: Inference = Field(default_factory=Inference)
    decency: Decency = Field(default_factory=Decency)
    privacy: Privacy = Field(default_factory=Privacy)

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        languages = self.languages
        if self.inference.system_language not in languages:
            raise ValueError(
                f"inference.system_language: {self.inference.system_language!r} is not allowed; "
                f"allowed: a language of system_prompts ({', '.join(languages)})"
            )
        prompt = self.finetuning.persistent_prompt
        if isinstance(prompt, dict) and (missing := [name for name in languages if not prompt.get(name, "").strip()]):
            raise ValueError(
                f"finetuning.persistent_prompt: no text for {', '.join(missing)}; give one for each language"
            )
        if isinstance(prompt, str) and not prompt.strip():
            raise ValueError(
                "finetuning.persistent_prompt: '' is not allowed; allowed: a prompt, which seeds every run"
            )
        for host in self.general.osc_hosts:
            address, colon, port = host.rpartition(":")
            if not colon or not address or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(f"general.osc_hosts: {host!r} is not allowed; allowed: address:port, as 10.0.0.7:9000")
        tuning = self.finetuning
        if tuning.precision == "nf4" and tuning.parallel == "fsdp" and tuning.devices != 1:
            raise ValueError(
                "finetuning.parallel: 'fsdp' is not allowed with finetuning.precision nf4, whose weights cannot be divided; "
                "allowed: ddp or auto, or precision bfloat16"
            )
        self._check_opening_hours()
        self._check_url()
        self._check_proxies_and_certificate()
        for node in self.inference.nodes:
            host, _, port = _with_port(node).rpartition(":")
            if not host or "/" in node or not port.isdigit() or not 0 < int(port) < 65536:
                raise ValueError(
                    f"inference.nodes: {node!r} is not allowed; allowed: address or address:port, as 10.0.0.7"
                )
        if bool(self.general.osc_ip) != bool(self.general.osc_port):
            given, lacking = ("osc_ip", "osc_port") if self.general.osc_ip else ("osc_port", "osc_ip")
            raise ValueError(f"general.{lacking}: is missing although general.{given} is given; give both or neither")
        return self

    @property
    def node_addresses(self) -> list[str]:
        """Every node as host and port."""
        return [_with_port(node) for node in self.inference.nodes]

    def _check_opening_hours(self) -> None:
        general = self.general
        if general.opening_hours:
            from wmkml.config.opening_hours import opening_hours_problem

            problem = opening_hours_problem(general.opening_hours, general.public_holidays, general.time_zone)
            if problem:
                raise ValueError(problem)

    def _check_proxies_and_certificate(self) -> None:
        general = self.general
        for proxy in general.trusted_proxies:
            try:
                ipaddress.ip_network(proxy, strict=False)
            except ValueError:
                raise ValueError(
                    f"general.trusted_proxies: {proxy!r} is not allowed; allowed: an address or a network, as 127.0.0.1"
                ) from None
        if general.trusted_proxies and not general.behind_proxy:
            raise ValueError("general.trusted_proxies: is given although general.behind_proxy is false; set that too")
        if general.tls_key and not general.tls_certificate:
            raise ValueError("general.tls_certificate: is missing although general.tls_key is given; give both")

    def _check_url(self) -> None:
        inference = self.inference
        if inference.engine == "remote" and not inference.url:
            raise ValueError("inference.url: '' is not allowed; allowed: an address, since inference.engine is remote")
        if inference.url and inference.engine in ("vllm", "transformers"):
            raise ValueError(
                f"inference.engine: {inference.engine!r} is not allowed; allowed: auto or remote, since inference.url is given"
            )
        if inference.url and not inference.url.startswith(("http://", "https://")):
            raise ValueError(f"inference.url: {inference.url!r} is not allowed; allowed: http://… or https://…")
        if inference.url_adapter_name.count("{name}") != 1:
            raise ValueError(
                f"inference.url_adapter_name: {inference.url_adapter_name!r} is not allowed; allowed: a text with {{name}} in it"
            )

    @property
    def trusted_hosts(self) -> list[str]:
        """The addresses that are trusted; none behind a proxy, where everybody has the proxy's."""
        return [] if self.general.behind_proxy else self.general.trusted_hosts

    @property
    def languages(self) -> list[str]:
        """The languages a visitor can choose, in the order of `system_prompts`."""
        return list(self.inference.system_prompts)

    @property
    def osc_targets(self) -> list[tuple[str, int]]:
        """Every configured OSC host, as (address, port)."""
        targets = [(self.general.osc_ip, self.general.osc_port)] if self.general.osc_ip else []
        for host in self.general.osc_hosts:
            address, _, port = host.rpartition(":")
            targets.append((address.strip("[]"), int(port)))
        return targets

    @property
    def max_loaded_adapters(self) -> int:
        """How many adapters the engine can hold at a time.

        One for each round, one that is replaced under way, and one that is reloaded by hand.
        """
        return self.finetuning.num_total_iters + 2

    def persistent_prompt(self, language: str) -> str:
        """The prompt that seeds a run in this language."""
        prompt = self.finetuning.persistent_prompt
        return prompt if isinstance(prompt, str) else prompt[language]

    def datasets_of(self, round_number: int) -> list[str]:
        """The datasets of a round; none beyond the end of `dataset_array`."""
        array = self.finetuning.dataset_array
        return array[round_number] if round_number < len(array) else []

    def notices(self) -> list[str]:
        """Sentences that an operator should read about these settings, although none of them is wrong."""
        notices = []
        tuning = self.finetuning
        if len(tuning.dataset_array) < tuning.num_total_iters:
            notices.append(
                f"finetuning.dataset_array names datasets for {len(tuning.dataset_array)} of {tuning.num_total_iters} "
                "iterations: the rest have no backup words and train on what visitors said alone."
            )
        if tuning.lr_precision != Finetuning().lr_precision:
            notices.append("finetuning.lr_precision is obsolete and not used.")
        return notices


def sections() -> dict[str, type[Section]]:
    """The sections of config.yaml by name."""
    return {
        "general": General,
        "finetuning": Finetuning,
        "inference": Inference,
        "decency": Decency,
        "privacy": Privacy,
    }
