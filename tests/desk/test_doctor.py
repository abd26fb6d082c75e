"""The doctor at the desk: asked by the owner as a process, with the owner's settings and the GPUs that it does not see itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.desk.operator import DeskClient
from tests.owner.played_owner import PlayedOwner
from wmkml.doctor.examination import CHECKS
from wmkml.owner.desk.doctor import doctor_environment
from wmkml.protocol.doctor import DoctorReport


@pytest.mark.process
def test_the_operator_is_told_what_the_doctor_finds_in_this_installation(desk: DeskClient, owner: PlayedOwner) -> None:
    with ThreadPoolExecutor(3) as several:
        answers = list(several.map(lambda _: desk.http.get("/desk/doctor").raise_for_status().text, range(3)))
    assert len(set(answers)) == 1, "who asks while it looks gets the same report"
    report = DoctorReport.model_validate_json(answers[0])
    assert list(dict.fromkeys(finding.check for finding in report.findings)) == [check.name for check in CHECKS]
    outcomes = {finding.check: finding.outcome for finding in report.findings}
    assert (outcomes["settings"], outcomes["ports"], outcomes["model"]) == ("valid", "own", "complete")
    [data] = [finding for finding in report.findings if finding.check == "data"]
    assert str(owner.cluster.paths.data) in data.text.de
    assert [path for path in owner.cluster.paths.data.iterdir() if path.suffix == ".yaml"] == []


@pytest.mark.process
def test_nobody_else_is_told(owner: PlayedOwner) -> None:
    assert httpx.get(f"{owner.address}/desk/doctor").status_code == 401


def test_the_doctor_sees_the_gpus_of_the_plan() -> None:
    assert doctor_environment({"CUDA_VISIBLE_DEVICES": "", "WMKML_ALL_GPUS": "0,2"})["CUDA_VISIBLE_DEVICES"] == "0,2"
    assert doctor_environment({"CUDA_VISIBLE_DEVICES": ""}) == {"CUDA_VISIBLE_DEVICES": ""}
