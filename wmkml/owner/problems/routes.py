"""The owner's problems for programs: `/operator/problems`, by the operator's key."""

from __future__ import annotations

from fastapi import FastAPI, Request

from wmkml.owner.context import OwnerContext
from wmkml.owner.http.http_requests import require_key
from wmkml.owner.problems.watch import ProblemWatch
from wmkml.protocol.desk import ProblemList


def add_problem_routes(app: FastAPI, owner: OwnerContext, problems: ProblemWatch) -> None:
    """Add the route."""

    @app.get("/operator/problems")
    async def operator_problems(request: Request) -> ProblemList:
        require_key(request, "operator", owner.keys.operator)
        return ProblemList(problems=problems.look(), notices=owner.publisher.dated_notices())
