"""Everything that a GPU decides, in at most eight minutes: tests, speeds, one JSON and a table.

    make gpu                                                   # on a machine with a GPU
    python benchmarks/gpu.py --device cpu --scale toy --folder /tmp/gpu   # tries the program itself

Each part of `gpu_parts.PARTS` is a process of its own, stopped when its time is over. One that
fails, or whose packages are not installed, is reported; the others go on.
"""

import argparse
import csv
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TABLE = "measurements.csv"
COLUMNS = ("card", "date", "part", "case", "statistic", "value", "unit")


def main() -> int:
    """Run all parts, or a single one of them for the whole, and return the exit status."""
    parser = argparse.ArgumentParser(description="Run what needs a GPU, and write what it found.")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--scale", choices=["full", "toy"], default="full")
    parser.add_argument("--folder", type=Path, default=ROOT / "results" / "reference" / "gpu")
    parser.add_argument("--wheels", type=Path, help="Folder of wheels that the machine lacks")
    parser.add_argument("--commit", help="Where the code is a copy outside a repository of git")
    # How the program calls itself.
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--records", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        run_part(options.part, options.scale, options.device, options.seconds, options.records)
        return 0
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    if (problem := what_lacks(options.device)) is not None:
        print(f"error: {problem}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        try:
            install(options.wheels, Path(scratch) / "wheels")
        except RuntimeError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        return run_all(options, Path(scratch))


def what_lacks(device: str) -> str | None:
    """Return in one line why nothing can be measured here, if so."""
    if find_spec("torch") is None:
        return f"make gpu: expected torch for {sys.executable}, found none; PYTHON names another"
    import torch

    with warnings.catch_warnings():  # of a driver that is too old, for example
        warnings.simplefilter("ignore")
        if device == "cpu" or torch.cuda.is_available():
            return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return (
        f"make gpu: expected a CUDA GPU, found none; torch {torch.__version__}, built for CUDA "
        f"{torch.version.cuda}, CUDA_VISIBLE_DEVICES {'not set' if visible is None else visible!r}"
    )


def install(wheels: Path | None, folder: Path) -> None:
    """Let this process and its children find this library, and wheels installed into a folder.

    Raises
    ------
    RuntimeError
        If there are no wheels, or pip cannot install them.
    """
    paths = [str(ROOT / "src")]
    if wheels is not None:
        files = sorted(map(str, wheels.glob("*.whl")))
        if not files:
            raise RuntimeError(f"{wheels}: expected a folder of wheels, found none in it")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        command += ["--disable-pip-version-check", "--target", str(folder), *files]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = " ".join(done.stderr.split())[-500:]
            raise RuntimeError(f"{wheels}: expected wheels that pip can install, found: {said}")
        paths.append(str(folder))
    sys.path[:0] = paths
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(paths + [before] * bool(before))


def run_all(options: argparse.Namespace, scratch: Path) -> int:
    """Run the parts one after the other, write what they found and return the exit status."""
    from gpu_parts import PARTS, SCALES

    began, unused = time.monotonic(), 0.0
    about, patience = describe(options), SCALES[options.scale].patience
    most = patience * sum(part.seconds for part in PARTS.values())
    print(f"{about['card']}: {most:.0f} s at most", flush=True)
    # Compiled anew each time, so that first steps can be compared.
    for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
        os.environ[name] = str(scratch / name.lower())
    parts = {}
    for name, part in PARTS.items():
        limit = patience * part.seconds + unused
        parts[name] = one = watch(name, limit, options, scratch)
        unused = max(0.0, limit - one["seconds"])
        print(f"{name}: {one['status']}, {one['seconds']:.1f} s", flush=True)
        for case, found in one["cases"].items():
            if found["status"] != "finished":
                print(f"    {case}: {found['status']}: {found['why']}", flush=True)
    about |= {"seconds": round(time.monotonic() - began, 1), "parts": parts}
    write(options.folder, about)
    return int(any(one["status"] == "failed" for one in parts.values()))


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """Return card, date, versions, hardware and commit."""
    import torch

    from dansm.io.provenance import processor_name, provenance

    card, gpu = processor_name(), None
    if options.device == "cuda":
        device = torch.cuda.get_device_properties(0)
        card = device.name
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(query, capture_output=True, text=True, timeout=20).stdout
        except (OSError, subprocess.TimeoutExpired):
            driver = ""
        gpu = {
            "count": torch.cuda.device_count(),
            "memory_gib": round(device.total_memory / 2**30, 1),
            "capability": f"{device.major}.{device.minor}",
            "multiprocessors": device.multi_processor_count,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "driver": driver.split("\n")[0] or None,
            "tf32": {
                "convolutions": torch.backends.cudnn.allow_tf32,
                "products": torch.backends.cuda.matmul.allow_tf32,
            },
        }
    about = {
        "card": card,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "scale": options.scale,
        "gpu": gpu,
        **provenance(),
    }
    return about | ({"commit": options.commit} if options.commit else {})


def watch(name: str, limit: float, options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Run a part in a process of its own for at most so many seconds, and return what it found.

    Its ``status`` is ``finished``, ``failed`` (also if only one of its cases has), ``left out`` or
    ``unfinished``; those of its ``cases`` likewise, each with ``why`` unless it is finished.
    """
    records, log = scratch / f"{name}.jsonl", scratch / f"{name}.log"
    records.touch()
    command = [sys.executable, __file__, "--part", name, "--scale", options.scale]
    command += ["--device", options.device, "--records", str(records), "--seconds", str(limit)]
    began, code = time.monotonic(), None
    with open(log, "wb") as output:
        # In a session of its own, so that whatever it started ends with it.
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=output, start_new_session=True
        )
        try:
            with suppress(subprocess.TimeoutExpired):
                code = child.wait(limit)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    cases: dict[str, dict[str, Any]] = {}
    values = []
    for line in records.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if "value" in record:
            values.append(record)
        else:
            cases[record.pop("case")] = record
    if code:
        said = log.read_text(errors="replace").strip()[-2000:]
        cases[name] = {"status": "failed", "why": f"ended with status {code}: {said}"}
    found = {one["status"] for one in cases.values()}
    order = ("failed", "unfinished", "finished", "left out")
    return {
        "status": next((status for status in order if status in found), "unfinished"),
        "seconds": round(time.monotonic() - began, 1),
        "limit_seconds": limit,
        "cases": cases,
        "values": values,
    }


def run_part(name: str, scale: str, device: str, seconds: float, records: Path) -> None:
    """Run the cases of a part in this process, and note what they find, a line of JSON each."""
    from gpu_parts import PARTS, SCALES, LeftOut

    stop = time.monotonic() + seconds
    part = PARTS[name]
    with open(records, "a", encoding="utf-8") as file:

        def note(case: str, **found: Any) -> None:
            file.write(json.dumps({"case": case, **found}) + "\n")
            file.flush()

        missing = [package for package in part.needs if find_spec(package) is None]
        if missing:
            note(name, status="left out", why=f"needs {', '.join(missing)}: not installed")
            return
        try:
            cases = part.cases(SCALES[scale], device, lambda: stop - time.monotonic())
        except Exception as error:
            note(name, **_of_error(error))
            return
        for case in cases:
            note(case, status="unfinished", why="no time left")
        for case, work in cases.items():
            began = time.monotonic()
            if began > stop:
                break
            whole = True
            try:
                for found in work():
                    if isinstance(found, LeftOut):
                        note(found.case, status="left out", why=found.why)
                        whole = whole and found.case != case
                    else:
                        note(**found._asdict())
            except Exception as error:
                note(case, **_of_error(error))
            else:
                if whole:
                    note(case, status="finished", seconds=round(time.monotonic() - began, 2))


def _of_error(error: Exception) -> dict[str, str]:
    traceback.print_exc()
    if isinstance(error, ModuleNotFoundError) and (error.name or "dansm").split(".")[0] != "dansm":
        return {"status": "left out", "why": f"needs {error.name}: not installed"}
    return {"status": "failed", "why": f"{type(error).__name__}: {error}"[:4000]}


def write(folder: Path, about: dict[str, Any]) -> None:
    """Write the JSON of a run, and append its values to the table of all runs; print both."""
    from dansm.io.files import atomic_path, write_json

    name = "_".join(
        re.sub(r"[^A-Za-z0-9]+", "-", about[key]).strip("-") for key in ("card", "date")
    )
    write_json(folder / f"{name}.json", about)
    rows = [
        [about["card"], about["date"], part, *(value[key] for key in COLUMNS[3:])]
        for part, found in about["parts"].items()
        for value in found["values"]
    ]
    table = folder / TABLE
    before = table.read_text(encoding="utf-8") if table.exists() else ",".join(COLUMNS) + "\n"
    with (
        atomic_path(table) as partial,
        open(partial, "w", encoding="utf-8", newline="") as file,
    ):
        file.write(before)
        csv.writer(file, lineterminator="\n").writerows(rows)
    for _, _, part, case, statistic, value, unit in rows:
        print(f"{part:15} {case:42} {statistic:36} {value:12.4g} {unit}")
    print(f"{folder / name}.json and {table}: {about['seconds']} s in all")


if __name__ == "__main__":
    sys.exit(main())
