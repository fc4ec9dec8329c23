"""What we rely on in Luigi 3.8.1 that Luigi calls private: the one override, and what is round it.

When a new Luigi breaks one of these, ``gateway/runs/driver.py`` has to be looked at before the pin
in ``pyproject.toml`` moves.
"""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import textwrap
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Luigi announces what it will do without range tasks
    import luigi
    import luigi.execution_summary
    import luigi.scheduler
    import luigi.worker

    from gateway.runs import driver, stand_ins


def _reads(method: Any, name: str) -> set[str]:
    """Return the attributes of the variable ``name`` that a method reads."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    return {
        item.attr
        for item in ast.walk(tree)
        if isinstance(item, ast.Attribute)
        and isinstance(item.value, ast.Name)
        and item.value.id == name
    }


def test_version() -> None:
    """The tests below describe this version, and the pin is on it."""
    assert luigi.__version__ == "3.8.1"
    assert '"luigi==3.8.1"' in (Path(__file__).parents[2] / "pyproject.toml").read_text()


def test_the_one_override() -> None:
    """Our worker replaces one method of Luigi's, and Luigi calls it with a task."""
    own = {
        name for name in vars(driver.GatewayWorker) if callable(getattr(driver.GatewayWorker, name))
    }
    assert own == {"__init__", "_create_task_process"}
    parameters = inspect.signature(luigi.worker.Worker._create_task_process).parameters
    assert list(parameters) == ["self", "task"]
    assert "_create_task_process(task)" in inspect.getsource(luigi.worker.Worker._run_task)


def test_counts() -> None:
    """What our scheduler does not count decides nothing for a worker that does not stay alive."""
    own = {name for name in vars(driver.LoneScheduler) if not name.startswith("__")}
    assert own == {"count_pending"}
    lone = driver.LoneScheduler()
    lone.add_worker("a", {})
    stock = luigi.scheduler.Scheduler.count_pending(lone, "a")
    assert lone.count_pending("a") == stock
    counts = {name for name in stock if name.startswith("n_")}
    worker = luigi.worker.Worker
    readers = {
        name
        for name, method in vars(worker).items()
        if inspect.isfunction(method)
        and counts & (_reads(method, "get_work_response") | _reads(method, "r"))
    }
    assert readers == {"_log_remote_tasks", "_keep_alive", "run"}
    assert re.findall(r".*n_pending.*", inspect.getsource(worker.run)) == [
        '            logger.debug("Pending tasks: %s", get_work_response.n_pending_tasks)'
    ]
    assert "if not self._config.keep_alive:\n            return False" in inspect.getsource(
        worker._keep_alive
    )
    assert luigi.worker.worker().keep_alive is False
    # the list of running tasks goes to the history, which is cut short: see `test_histories`
    assert inspect.getsource(worker).count("running_tasks=running_tasks") == 1
    assert "get_work_response.running_tasks" in inspect.getsource(worker._log_remote_tasks)


def test_what_a_worker_reads_of_a_process() -> None:
    """Our attempt has everything that the worker reads of a task's process."""
    worker = luigi.worker.Worker
    wanted = (
        _reads(worker._run_task, "task_process")
        | _reads(worker._purge_children, "p")
        | _reads(worker.dispatch_scheduler_message, "task_process")
    )
    attempt = stand_ins.Attempt(task=None, number=1, timeout=5, send=lambda _: None)
    assert wanted - {"run"} == {name for name in wanted if hasattr(attempt, name)}
    assert attempt.use_multiprocessing  # so `run` is never called


def test_what_a_worker_reads_of_a_process_that_is_none() -> None:
    """A wrapper's stand-in is run at once, and has what is read of it while it waits its turn."""
    nothing = stand_ins.NoProcess(task=None, finish=lambda _: None)
    assert not nothing.use_multiprocessing
    wanted = _reads(luigi.worker.Worker._purge_children, "p") - {
        "task",
        "terminate",
        "worker_timeout",
    }
    assert wanted == {name for name in wanted if hasattr(nothing, name)}


def test_the_result_queue() -> None:
    """The worker only puts to its queue, gets with a timeout, and closes it."""
    source = inspect.getsource(luigi.worker.Worker)
    assert set(re.findall(r"_task_result_queue\.(\w+)", source)) == {"put", "get", "close"}
    assert "_task_result_queue.get(timeout=self._config.wait_interval)" in source
    assert "task_id, status, expl, missing, new_requirements = " in source


def test_histories() -> None:
    """The history that we cut short serves nothing but other workers, which there are none of."""
    readers = inspect.getsource(luigi.execution_summary)
    assert readers.count("worker._get_work_response_history") == 1
    body = inspect.getsource(luigi.execution_summary._get_external_workers)
    assert "other_worker_id == worker._id" in body


@pytest.mark.parametrize(
    "name",
    ["prune_on_get_work", "retry_delay", "retry_count", "worker_disconnect_delay", "remove_delay",
     "disable_window", "disable_hard_timeout", "disable_persist"],
)  # fmt: skip
def test_scheduler_settings(name: str) -> None:
    """Each setting that the driver gives the scheduler exists: Luigi ignores unknown ones."""
    assert isinstance(getattr(luigi.scheduler.scheduler, name), luigi.Parameter)


@pytest.mark.parametrize(
    "name",
    [
        "timeout",
        "wait_interval",
        "wait_jitter",
        "no_install_shutdown_handler",
        "send_failure_email",
    ],
)
def test_worker_settings(name: str) -> None:
    """Each setting that the driver gives the worker exists."""
    assert isinstance(getattr(luigi.worker.worker, name), luigi.Parameter)


def test_load_task_finds_the_stand_in() -> None:
    """Dynamic dependencies are triples for ``load_task``; module None imports nothing."""
    body = inspect.getsource(luigi.worker.Worker._handle_next_task)
    assert "load_task(module, name, params) for module, name, params in new_requirements" in body
    assert "if module is not None" in inspect.getsource(luigi.worker.load_task)


def test_summary_keeps_our_task_ids() -> None:
    """The summary compares tasks by their id, which we set: two nodes are never taken for one."""
    source = inspect.getsource(luigi.Task.__eq__)
    assert "self.task_id == other.task_id" in source


def test_no_configuration_file_is_heard(tmp_path: Path) -> None:
    """A luigi.cfg in the working directory, or named by the environment, changes nothing."""
    config = "[scheduler]\nretry_count=77\n[worker]\nkeep_alive=true\n[resources]\ndatabase=9\n"
    (tmp_path / "luigi.cfg").write_text(config)
    (tmp_path / "other.cfg").write_text(config)
    code = """
        import luigi, luigi.scheduler, luigi.worker
        from gateway.runs import driver, stand_ins
        assert luigi.scheduler.scheduler().retry_count == 77  # the file is found at first
        driver.forget_configuration()
        assert luigi.scheduler.scheduler().retry_count == 999999999
        assert luigi.worker.worker().keep_alive is False
        assert dict(luigi.scheduler.Scheduler()._resources) == {}
    """
    subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(code)],
        cwd=tmp_path,
        env={"LUIGI_CONFIG_PATH": str(tmp_path / "other.cfg")},
        check=True,
    )


def test_the_histories_are_replaced() -> None:
    """A worker made by the driver forgets, and waits on the driver's queue."""
    worker = driver.GatewayWorker(lambda _: None, "inbox", no_install_shutdown_handler=True)  # type: ignore[arg-type]
    assert isinstance(worker._get_work_response_history, deque)
    assert worker._get_work_response_history.maxlen == 2
    assert worker._task_result_queue == "inbox"
