"""Who submitted a job, the text of a job, and the same job again."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.master.masters import Bench, Client

from minispark.engines.http import MasterClient
from minispark.errors import UsageError
from minispark.tokens import Level, derive
from minispark.wire.http import auth_headers, versions
from minispark.wire.messages import PlannedJob
from minispark.wire.origin import user_headers, user_of

JOB = {"name": "words", "dag": {"of": "Jos\u00e9"}}


async def _accepted(client: Client, path: str, body: str, **headers: str) -> str:
    reply = await client.http.post(path, content=body, headers=headers)
    assert reply.status_code == 202, reply.text
    return str(reply.json()["job_id"])


def test_the_list_says_who_submitted_a_job_with_which_token(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            body = json.dumps(JOB)
            named = await _accepted(client, "/api/v1/jobs", body, **user_headers(" José "))
            token = auth_headers(derive(bench.config.token, Level.SUBMIT))
            lesser = await _accepted(client, "/api/v1/jobs", body, **token)
        # The journal has it too.
        async with bench.master() as client:
            views = {
                view["job_id"]: view for view in (await client.get("/api/v1/jobs")).json()["jobs"]
            }
            assert (views[named]["submitted_by"], views[named]["access"]) == ("José", "root")
            assert (views[lesser]["submitted_by"], views[lesser]["access"]) == (None, "submit")
            found = (await client.get("/api/v1/jobs", q="josé")).json()
            assert [view["job_id"] for view in found["jobs"]] == [named]
            assert found["total"] == 1

    asyncio.run(story())


@pytest.mark.parametrize("name", ["x" * 101, "a\x1b[31mb", "two\nlines"])
def test_a_name_that_cannot_be_shown_is_refused(bench: Bench, name: str) -> None:
    with pytest.raises(UsageError, match="at most 100"):
        user_headers(name)
    encoded = {"Minispark-User": name.replace("\x1b", "%1B").replace("\n", "%0A")}

    async def story() -> None:
        async with bench.master() as client:
            reply = await client.http.post("/api/v1/jobs", content="{}", headers=encoded)
            assert reply.status_code == 422
            assert reply.json()["error"]["field"] == "user"

    asyncio.run(story())


def test_the_name_of_the_environment_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINISPARK_USER", "ada")
    assert user_of(user_headers(None)) == "ada"
    assert user_of(user_headers("grace")) == "grace"
    monkeypatch.delenv("MINISPARK_USER")
    assert user_headers(None) == {}
    assert user_of({}) is None


def test_a_json_job_can_be_downloaded_and_run_again(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            body = json.dumps(JOB, ensure_ascii=False)
            first = await _accepted(client, "/api/v1/jobs", body)
        async with bench.master() as client, bench.working(client):
            text = await client.get(f"/api/v1/jobs/{first}/source")
            assert text.text == body
            assert f'filename="{first}.json"' in text.headers["content-disposition"]
            again = await _accepted(
                client, f"/api/v1/jobs/{first}/rerun", "", **user_headers("ada")
            )
            assert again != first
            view = await client.ended(again)
            assert (view["name"], view["submitted_by"]) == ("words", "ada")
            assert (await client.get(f"/api/v1/jobs/{again}/source")).text == body
            viewer = auth_headers(derive(bench.config.token, Level.VIEW))
            for method, path in (("GET", "source"), ("POST", "rerun")):
                url = f"/api/v1/jobs/{first}/{path}"
                assert (await client.http.request(method, url, headers=viewer)).status_code == 403

    asyncio.run(story())


@pytest.mark.parametrize("sql", [None, "select 1"])
def test_a_query_is_run_again_with_its_plan(bench: Bench, sql: str | None) -> None:
    async def story() -> None:
        async with bench.master() as client, bench.working(client):
            plan = PlannedJob(name="q", graph=bench.two_stages(), versions=versions(), sql=sql)
            first = await _accepted(client, "/internal/v1/jobs", plan.model_dump_json())
            again = await _accepted(client, f"/api/v1/jobs/{first}/rerun", "")
            ends = [await client.ended(job) for job in (first, again)]
            assert {end["status"] for end in ends} == {"SUCCEEDED"}
            assert {end["source"] for end in ends} == {None if sql is None else "sql"}
            text = await client.get(f"/api/v1/jobs/{again}/source")
            if sql is None:
                assert (text.status_code, text.json()["error"]["code"]) == (404, "MS-158")
            else:
                assert (text.text, text.headers["content-type"]) == (sql, "application/sql")

    asyncio.run(story())


def test_an_unknown_job_is_not_run_again(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:
            reply = await client.http.post("/api/v1/jobs/job-x-1-1/rerun")
            assert (reply.status_code, reply.json()["error"]["code"]) == (404, "MS-140")

    asyncio.run(story())


def test_the_client_sends_its_user(bench: Bench) -> None:
    async def story() -> None:
        async with bench.master() as client:

            def submit() -> tuple[str, str]:
                with MasterClient(client.url, token=bench.config.token, user="ada") as master:
                    job = master.submit_json(JOB)
                    return job, master.rerun(job)

            jobs = await asyncio.to_thread(submit)
            views = [(await client.get(f"/api/v1/jobs/{job}")).json() for job in jobs]
            assert [view["submitted_by"] for view in views] == ["ada", "ada"]

    asyncio.run(story())
