"""The checks of the machine beside its GPUs: shared memory, processors, the weights' disk, and the ways out of it."""

from __future__ import annotations

from wmkml.doctor.check import CheckFinding, CheckOutcome, DoctorCheck, finding, good, unknown
from wmkml.doctor.facts import Facts
from wmkml.problems.wording import BothLanguages

RANKS_SHM_GIB = 1.0
"""/dev/shm from which on several ranks surely start: vLLM's queue between processes of one model takes 240 MiB
(`MessageQueue`: 10 chunks of 24 MiB), NCCL some 10 MiB for each pair of cards."""

DOCKERS_SHM_GIB = 0.0625
"""Docker's own /dev/shm, 64 MB."""

FEW_CORES = 2
"""With fewer cores beside a GPU, reading text and starting the GPU's work wait for each other."""

SLOW_MIB_S = 200.0
"""A disk that reads slower than this lets a 7B model load for over a minute."""

SHORT_ENOUGH = 0.8
"""The share of vLLM's time to start that reading the weights may take."""

WITHOUT_UDP = ("RunPod",)
"""Providers that offer TCP and HTTP alone, by their documentation of ports."""


def judge_shm(facts: Facts) -> list[CheckFinding]:
    """Whether /dev/shm is large enough for the ranks of the engine, and for those that train together."""
    size = facts.machine.shm_gib
    installation = facts.installation
    # NCCL exchanges through it among those of the engine, and among those that train; one that trains alone sends nothing.
    together = (installation.engine_gpus, installation.training_gpus) if installation else ()
    ranks = sum(gpus for gpus in together if gpus > 1)
    if size is None:
        return finding("unknown")
    shown = f"{size * 1024:,.0f}"
    if size < DOCKERS_SHM_GIB * 0.99:
        return finding("tiny", size=shown)
    if ranks > 1 and size < RANKS_SHM_GIB:
        return finding("small", size=shown, ranks=ranks)
    return finding("enough", size=shown)


def judge_cores(facts: Facts) -> list[CheckFinding]:
    """Whether there are enough cores, and what of them is really this machine's."""
    machine, installation = facts.machine, facts.installation
    visible, usable = machine.visible_cores, machine.usable_cores
    if machine.gpus and usable < FEW_CORES:
        return finding("few", usable=usable, visible=visible)
    if installation is None:
        return finding("unplanned", usable=usable, visible=visible)
    threads = {"engine": installation.engine_threads, "worker": installation.worker_threads}
    if machine.omp_threads:
        return finding("omp", usable=usable, visible=visible, omp=machine.omp_threads, **threads)
    return finding("quota" if usable < visible else "all", usable=usable, visible=visible, **threads)


def judge_reading(facts: Facts) -> list[CheckFinding]:
    """Whether the weights' disk is quick enough."""
    installation = facts.installation
    if installation is None or not installation.weights_gib:
        return finding("no_weights")
    speed = installation.read_mib_s
    if speed is None:
        return finding("unknown")
    seconds = installation.weights_gib * 1024 / max(speed, 0.1)
    values = {
        "speed": f"{speed:,.0f}",
        "weights": f"{installation.weights_gib:.2f}",
        "seconds": f"{max(1.0, seconds):,.0f}",
        "timeout": f"{installation.ready_timeout_s:,}",
    }
    if installation.ready_timeout_s and seconds > SHORT_ENOUGH * installation.ready_timeout_s:
        return finding("too_slow", **values)
    # Weights that are read within seconds are quick enough from any disk.
    return finding("slow" if speed < SLOW_MIB_S and seconds > 10 else "quick", **values)


def judge_proxy(facts: Facts) -> list[CheckFinding]:
    """What is known of a proxy in front, and whether addresses are trusted that everybody has behind one."""
    provider, installation = facts.machine.provider, facts.installation
    if installation is None or not installation.trusts_addresses:
        return finding("provider", provider=provider) if provider else finding("not_seen")
    if provider:
        return finding("trusts", provider=provider)
    return finding("asks" if installation.loopback_only else "not_seen")


def judge_osc(facts: Facts) -> list[CheckFinding]:
    """Whether OSC can leave this machine."""
    installation = facts.installation
    if installation is None or not installation.osc:
        return finding("none")
    results: list[CheckFinding] = []
    for host in installation.osc:
        outcome: str = host.route
        if outcome == "sent" and facts.machine.provider in WITHOUT_UDP:
            outcome = "no_udp"
        results += finding(outcome, host=host.host, port=host.port, provider=facts.machine.provider)
    return results


SHM = DoctorCheck(
    "shm",
    BothLanguages("/dev/shm", "/dev/shm"),
    BothLanguages(
        "Gemeinsamer Speicher der Prozesse; Docker gibt 64 MB. Jede GPU der Engine ist hier ein Prozess für sich, das kommt "
        "damit aus; teilen sich mehrere Prozesse ein Modell, braucht vLLM 240 MB und NCCL mehr, sonst enden sie mit SIGBUS.",
        "Memory that processes share; Docker gives 64 MB. Each GPU of the engine is a process by itself here, which gets by "
        "with that; where several processes share a model, vLLM needs 240 MB and NCCL more, or they end with SIGBUS.",
    ),
    judge_shm,
    {
        "enough": good("{size} MiB.", "{size} MiB."),
        "unknown": unknown("Gibt es hier nicht.", "There is none here."),
        "small": CheckOutcome(
            "warning",
            BothLanguages(
                "{size} MiB für {ranks} GPUs, die zusammen rechnen.",
                "{size} MiB for {ranks} GPUs that compute together.",
            ),
            BothLanguages(
                "Starten vLLM oder das Training nicht („Bus error“, NCCL): den Container mit mehr starten.",
                "If vLLM or training does not start (“Bus error”, NCCL): start the container with more.",
            ),
            "docker run --shm-size=8g …",
        ),
        "tiny": CheckOutcome(
            "bad",
            BothLanguages(
                "Nur {size} MiB, weniger als Dockers 64.", "Only {size} MiB, less than the 64 that Docker gives."
            ),
            BothLanguages("Den Container mit mehr starten.", "Start the container with more."),
            "docker run --shm-size=8g …",
        ),
    },
)

CORES = DoctorCheck(
    "cores",
    BothLanguages("Prozessorkerne", "Processor cores"),
    BothLanguages(
        "Ein Container sieht oft alle Kerne und darf nur einen Teil ihrer Zeit nutzen; zu viele Threads warten dann "
        "aufeinander. Der Plan zählt die kleinere Zahl und setzt OMP_NUM_THREADS für Engine und Training selbst.",
        "A container often sees all cores and may use a part of their time only; too many threads then wait for each "
        "other. The plan counts the smaller number, and sets OMP_NUM_THREADS for engine and training itself.",
    ),
    judge_cores,
    {
        "all": good(
            "{usable} Kerne; Threads: Engine {engine}, Training {worker}.",
            "{usable} cores; threads: engine {engine}, training {worker}.",
        ),
        "quota": good(
            "Zeit von {usable} der {visible} sichtbaren Kerne; Threads: Engine {engine}, Training {worker}.",
            "The time of {usable} of {visible} visible cores; threads: engine {engine}, training {worker}.",
        ),
        "omp": good(
            "{usable} von {visible} Kernen. OMP_NUM_THREADS={omp} dieser Shell gilt nicht für sie: Engine {engine}, "
            "Training {worker}.",
            "{usable} of {visible} cores. OMP_NUM_THREADS={omp} of this shell does not count for them: engine {engine}, "
            "training {worker}.",
        ),
        "unplanned": unknown(
            "{usable} von {visible} Kernen; kein Plan.", "{usable} of {visible} cores; there is no plan."
        ),
        "few": CheckOutcome(
            "warning",
            BothLanguages(
                "Nur {usable} von {visible} Kernen neben einer GPU.", "Only {usable} of {visible} cores beside a GPU."
            ),
            BothLanguages("Dem Container mehr geben.", "Give the container more."),
            "docker run --cpus=4 …",
        ),
    },
)

READING = DoctorCheck(
    "reading",
    BothLanguages("Lesen der Gewichte", "Reading the weights"),
    BothLanguages(
        "Netzlaufwerke lesen langsam, und vLLM gibt nach einer Frist auf. Der Plan setzt die Frist nach der Größe des "
        "Modells (VLLM_ENGINE_READY_TIMEOUT_S), liest die Gewichte beim Start voraus, und legt übersetzte Kernel in den "
        "Datenordner.",
        "Network volumes read slowly, and vLLM gives up after a time. The plan sets that time by the model's size "
        "(VLLM_ENGINE_READY_TIMEOUT_S), reads the weights ahead at start, and keeps compiled kernels in the data folder.",
    ),
    judge_reading,
    {
        "quick": good(
            "{speed} MiB/s; {weights} GiB in etwa {seconds} s.", "{speed} MiB/s; {weights} GiB in some {seconds} s."
        ),
        "no_weights": unknown("Das Modell ist noch nicht hier.", "The model is not here yet."),
        "unknown": unknown(
            "Nicht gemessen; `python -m wmkml doctor` misst.", "Not measured; `python -m wmkml doctor` measures."
        ),
        "slow": CheckOutcome(
            "warning",
            BothLanguages(
                "Langsam: {speed} MiB/s; {weights} GiB brauchen etwa {seconds} s von {timeout} s Frist.",
                "Slow: {speed} MiB/s; {weights} GiB take some {seconds} s of the {timeout} s that vLLM has.",
            ),
            BothLanguages(
                "Das Modell auf eine Platte des Rechners selbst legen.",
                "Put the model on a disk of the machine itself.",
            ),
            "./master_script.sh --set general.models_folder=/root/models",
        ),
        "too_slow": CheckOutcome(
            "bad",
            BothLanguages(
                "Zu langsam: {speed} MiB/s; {weights} GiB brauchen etwa {seconds} s, vLLM gibt nach {timeout} s auf.",
                "Too slow: {speed} MiB/s; {weights} GiB take some {seconds} s, and vLLM gives up after {timeout} s.",
            ),
            BothLanguages(
                "Das Modell auf eine Platte des Rechners selbst legen.",
                "Put the model on a disk of the machine itself.",
            ),
            "./master_script.sh --set general.models_folder=/root/models",
        ),
    },
)

PROXY = DoctorCheck(
    "proxy",
    BothLanguages("Vermittler davor", "A proxy in front"),
    BothLanguages(
        "Vermieter stellen einen Vermittler vor die Seiten, der trennt, was 100 s schweigt. Hier schweigt nichts so lange: "
        "Ereignisse und Antworten senden alle 15 s ein Lebenszeichen, und das Training fragt alle 25 s neu.",
        "Providers put a proxy in front of the pages, which cuts what is silent for 100 s. Nothing here is silent for so "
        "long: events and answers send a sign of life every 15 s, and training asks anew after 25 s.",
    ),
    judge_proxy,
    {
        "provider": good(
            "{provider}: ein Vermittler steht davor. Verbindungen bleiben offen.",
            "{provider}: a proxy stands in front. Connections stay open.",
        ),
        "trusts": CheckOutcome(
            "warning",
            BothLanguages(
                "{provider}: ein Vermittler steht davor, und general.trusted_hosts vertraut Adressen. Kommen Besucher über "
                "einen weitergeleiteten Port oder SSH, haben alle dieselbe, und jeder darf einen Lauf neu beginnen.",
                "{provider}: a proxy stands in front, and general.trusted_hosts trusts addresses. Where visitors come through "
                "a forwarded port or SSH, all have the same one, and everybody may restart a run.",
            ),
            BothLanguages(
                "In config.yaml general.behind_proxy auf true setzen.",
                "Set general.behind_proxy to true in config.yaml.",
            ),
            "nano config.yaml",
        ),
        "asks": unknown(
            "Der Owner hört nur auf diesen Rechner: kommen Besucher über einen Proxy oder einen weitergeleiteten Port "
            "(SSH)? Dann general.behind_proxy auf true setzen, sonst gilt jeder als dieser Rechner.",
            "The owner listens on this machine alone: do visitors come through a proxy or a forwarded port (SSH)? Then set "
            "general.behind_proxy to true, else everybody counts as this machine.",
        ),
        "not_seen": unknown(
            "Von hier aus ist keiner zu sehen; für einen ist gesorgt.",
            "None can be seen from here; one would be provided for.",
        ),
    },
)

OSC = DoctorCheck(
    "osc",
    BothLanguages("OSC zu einem anderen Rechner", "OSC to another machine"),
    BothLanguages(
        "OSC geht über UDP, und UDP antwortet nicht: viele gemietete Rechner lassen es nicht hinaus, und nichts sagt es. "
        "Musik und Bilder stehen dann still. Gewissheit gibt nur der andere Rechner: dort kommt alle 5 s /heartbeat an.",
        "OSC travels by UDP, and UDP gives no answer: many rented machines do not let it out, and nothing says so. Music "
        "and visuals then stand still. Only the other machine gives certainty: /heartbeat arrives there every 5 s.",
    ),
    judge_osc,
    {
        "none": unknown("Kein OSC-Ziel eingestellt.", "No OSC host is configured."),
        "local": good("{host}:{port} ist dieser Rechner.", "{host}:{port} is this machine."),
        "sent": CheckOutcome(
            "unknown",
            BothLanguages(
                "{host}:{port}: gesendet; ob es ankommt, ist von hier nicht zu sehen.",
                "{host}:{port}: sent; whether it arrives cannot be seen from here.",
            ),
            BothLanguages(
                "Dort nachsehen, ob /heartbeat kommt. Wenn nicht: beide Rechner in ein VPN (WireGuard, Tailscale).",
                "See there whether /heartbeat arrives. If not: put both machines into a VPN (WireGuard, Tailscale).",
            ),
            "oscdump {port}",
        ),
        "closed": CheckOutcome(
            "warning",
            BothLanguages(
                "{host} antwortet: UDP kommt an, aber an Port {port} hört niemand.",
                "{host} answers: UDP arrives, but nobody listens at port {port}.",
            ),
            BothLanguages("Dort das Programm starten.", "Start the program there."),
            "oscdump {port}",
        ),
        "no_route": CheckOutcome(
            "bad",
            BothLanguages("Kein Weg zu {host}:{port}.", "There is no way to {host}:{port}."),
            BothLanguages(
                "Adresse in config.yaml und Netz ansehen.", "Look at the address in config.yaml, and at the network."
            ),
            "ping {host}",
        ),
        "no_udp": CheckOutcome(
            "warning",
            BothLanguages(
                "{provider} sieht TCP und HTTP vor, kein UDP: OSC kommt bei {host}:{port} wohl nicht an.",
                "{provider} provides TCP and HTTP, not UDP: OSC will hardly arrive at {host}:{port}.",
            ),
            BothLanguages(
                "Beide Rechner in ein VPN (Tailscale), oder am anderen die Bühne öffnen: sie geht über HTTP.",
                "Put both machines into a VPN (Tailscale), or open the stage there: it needs HTTP only.",
            ),
            "tailscale up",
        ),
    },
)
