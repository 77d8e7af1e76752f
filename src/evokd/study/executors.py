"""Where stages are made: processes on this machine, tasks on Ray, jobs on Slurm."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from evokd.errors import InputError, require
from evokd.rundir.verify import JOB_LOGS
from evokd.study.jobs import Lost, Task

MANY = 64
"""Tasks handed to a cluster at once, which queues them itself."""
LAST_LINES = 12
"""Of a worker that failed, shown."""
PLAIN = re.compile(r"(0|[1-9]\d*)(\.\d+)?|true|false")


class LocalPool:
    """Processes on this machine, each with GPUs of its own where there are as many, and an equal
    share of the processor's threads."""

    def __init__(self, jobs: int, log: Callable[[str], None], gpus: Sequence[str] = ()) -> None:
        """
        Args:
            gpus: as CUDA_VISIBLE_DEVICES names them.
        """
        self.slots, self.log = jobs, log
        self._free: queue.Queue[tuple[str, dict[str, str]]] = queue.Queue()
        for slot in range(jobs):
            own = [gpu for number, gpu in enumerate(gpus) if number % jobs == slot]
            own = own or ([gpus[slot % len(gpus)]] if gpus else [])
            threads = str(max(1, (os.cpu_count() or 1) // jobs))
            settings = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
            settings |= {"CUDA_VISIBLE_DEVICES": ",".join(own)} if own else {}
            self._free.put((f"{slot + 1}{f', GPU {own[0]}' if own else ''}", settings))
        self._processes: set[subprocess.Popen[str]] = set()
        self._stopped = threading.Event()

    def make(self, task: Task) -> None:
        name, settings = self._free.get()
        try:
            self._run(task, name, settings)
        finally:
            self._free.put((name, settings))

    def stop(self) -> None:
        self._stopped.set()
        for process in list(self._processes):
            process.terminate()

    def _run(self, task: Task, name: str, settings: Mapping[str, str]) -> None:
        if self._stopped.is_set():
            raise Lost("not begun")
        command = [sys.executable, "-m", "evokd", *task.argv()]
        process = subprocess.Popen(
            command,
            env={**os.environ, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C is for the driver, which ends its workers
        )
        self._processes.add(process)
        if self._stopped.is_set():  # while it was started
            process.terminate()
        said: deque[str] = deque(maxlen=LAST_LINES)
        assert process.stderr is not None
        for line in process.stderr:
            said.append(line.rstrip("\n"))
            self.log(f"[{name}] {said[-1]}")
        code = process.wait()
        self._processes.discard(process)
        if code < 0:
            raise Lost(f"its worker was killed by signal {-code}")
        if code == 130:
            raise Lost("its worker was interrupted")
        if code:
            told = [number for number, line in enumerate(said) if line.startswith("evokd: ")]
            text = "\n".join(list(said)[told[-1] if told else 0 :]).removeprefix("evokd: ")
            raise InputError(text) if code == 2 else RuntimeError(f"{task.name}: {text}")


class RayCluster:
    """Tasks on a Ray cluster whose machines have evokd and the run folder at the same place."""

    slots = MANY

    def __init__(self, address: str | None, gpus: float | None) -> None:
        """
        Args:
            address: of a cluster ("ray://HOST:10001"); None for the one that RAY_ADDRESS names or
                this machine is in, or a new one on this machine.
            gpus: of each task; None for one where the cluster has any.

        Raises:
            InputError: Ray isn't installed, or there is no such cluster.
        """
        require("ray", "ray", "--on ray")
        self.ray = import_module("ray")
        if not self.ray.is_initialized():
            try:
                self.ray.init(address=address, log_to_driver=True, ignore_reinit_error=True)
            except Exception as error:  # ConnectionError, RuntimeError and more, by version
                raise InputError(
                    f"--on {address or 'ray'}: {error}; start a cluster with "
                    "`ray start --head`, or name another"
                ) from None
        if gpus is None:
            gpus = min(1.0, self.ray.cluster_resources().get("GPU", 0.0))
        # The driver begins again what was lost.
        options = {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0}
        self._work = self.ray.remote(**options)(Task.make)
        self._running: set[Any] = set()

    def make(self, task: Task) -> None:
        errors = self.ray.exceptions
        at_work = self._work.remote(task)
        self._running.add(at_work)
        try:
            self.ray.get(at_work)
        except errors.RayTaskError as error:
            if isinstance(error.cause, InputError):
                raise error.cause from None
            raise RuntimeError(f"{task.name}: {error.cause!r}") from None
        except errors.RayError as error:
            raise Lost(f"its worker is gone ({type(error).__name__})") from None
        finally:
            self._running.discard(at_work)

    def stop(self) -> None:
        for at_work in list(self._running):
            self.ray.cancel(at_work, force=True)


class Slurm:
    """Jobs on Slurm by submitit, whose machines have evokd and the run folder at the same place."""

    slots = MANY

    def __init__(self, folder: Path, options: Sequence[str], gpus: float | None) -> None:
        """
        Args:
            folder: the run folder; what jobs say goes to its .slurm/.
            options: key=value, as sbatch names them (partition, account, qos), or submitit
                (timeout_min, mem_gb, cpus_per_task).
            gpus: of each job; None for one.

        Raises:
            InputError: submitit isn't installed, there is no Slurm, or it has no such option.
        """
        require("submitit", "slurm", "--on slurm")
        submitit, given = import_module("submitit"), _options(options)
        each = 1 if gpus is None else gpus
        if each < 0 or each % 1:
            raise InputError(f"--gpus {each:g}: Slurm gives whole GPUs; 0, 1, 2 … are accepted")
        cluster = given.pop("cluster", None)
        plain = {"timeout_min", "mem_gb", "nodes", "cpus_per_task", "tasks_per_node", "name"}
        settings: dict[str, Any] = {"name": f"evokd {folder.name}", "timeout_min": 24 * 60}
        settings |= {"gpus_per_node": int(each)} if each else {}
        for key, value in given.items():
            known = key in plain or key.startswith("slurm_")
            settings[key if known else f"slurm_{key}"] = value
        try:
            self._executor = submitit.AutoExecutor(folder / JOB_LOGS, cluster=cluster)
            self._executor.update_parameters(**settings)
        except (RuntimeError, NameError, TypeError, ValueError, AssertionError) as error:
            raise InputError(f"--on slurm: {error}") from None
        self._lock = threading.Lock()
        self._running: set[Any] = set()

    def make(self, task: Task) -> None:
        with self._lock:
            job = self._executor.submit(SlurmJob(task))
        self._running.add(job)
        errors = import_module("submitit.core.utils")
        try:
            refused = job.result()
        except errors.FailedJobError:
            raise RuntimeError(f"{task.name}: the job failed; see {job.paths.stderr}") from None
        except errors.UncompletedJobError:
            raise Lost(f"its job {job.job_id} is gone") from None
        finally:
            self._running.discard(job)
        if refused:
            raise InputError(refused)

    def stop(self) -> None:
        for job in list(self._running):
            job.cancel()


class SlurmJob:
    """A task as submitit calls it; if Slurm preempts it, or its time is up, it is queued again."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def __call__(self) -> str:
        """Why its input is refused, if it is."""
        try:
            self.task.make()
        except InputError as error:
            return str(error)
        return ""

    def checkpoint(self) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def visible_gpus(device: str) -> list[str]:
    """GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them.

    Args:
        device: the recipe's.
    """
    if device not in ("auto", "cuda"):  # cuda:1 is for all of them
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [one for one in named.split(",") if one]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def _options(given: Sequence[str]) -> dict[str, Any]:
    """Numbers and true or false as such, all else as it stands: 12:00:00 and 0123 are no numbers
    here."""
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError(f"--slurm {text}: key=value is accepted, e.g. partition=gpu")
        found[key] = yaml.safe_load(value) if PLAIN.fullmatch(value) else value
    return found
