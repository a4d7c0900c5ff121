"""FastAPI: a request waits for a job's result, and the server ends although it waits."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from pgnotify.testing._wire import Session
from tests.helpers.waiting import PATIENCE, eventually
from tests.helpers.web import WebServer
from tests.kinds import Address


def get(url: str) -> str:
    """Return the body of a response, or the status that is an error."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            return str(response.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)


@pytest.fixture
def waiting(session: Session) -> Iterator[Callable[[WebServer, int], Future[str]]]:
    """A function that sends a request for a job, and returns when that is listened for."""
    session.sql("CREATE TABLE public.jobs (id bigint PRIMARY KEY, result pg_catalog.text)")
    with ThreadPoolExecutor() as threads:

        def begin(server: WebServer, job: int) -> Future[str]:
            response = threads.submit(get, f"{server.url}/jobs/{job}/result")
            eventually(
                lambda: session.sql(
                    "SELECT 1 FROM pg_catalog.pg_stat_activity "
                    f"WHERE query OPERATOR(pg_catalog.=) 'LISTEN \"job:{job}\"'"
                )
            )
            return response

        yield begin
    session.sql("DROP TABLE public.jobs")


def test_a_request_waits_for_its_job_and_the_server_ends_although_another_waits(
    address: Address, session: Session, waiting: Callable[..., Future[str]]
):
    with WebServer("with_fastapi:app", address) as server:
        seven = waiting(server, 7)
        session.notify("job:7", "half of it is done")
        assert not seven.done()

        session.sql("INSERT INTO public.jobs VALUES (7, 'done') RETURNING pg_catalog.pg_notify('job:7', '')")

        assert seven.result(PATIENCE) == '"done"'
        assert get(f"{server.url}/jobs/7/result") == '"done"'

        eight = waiting(server, 8)
        assert "Finished server process" in server.terminate()
        assert eight.result(PATIENCE) == "503"
