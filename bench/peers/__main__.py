"""Beside the peers: transformers' Trainer and generate, TRL's trainers, and plain scripts, in turn with us.

    python -m bench.peers [--only pretrain sft ...] [--quick] [--rounds 5] [--threads 2] [--data FOLDER] [--render]

`make bench` installs both environments and runs all of it, some ten minutes on two quiet cores. Each contest is kept in
bench/results.json as it ends, and bench/RESULTS.md with its pictures is made of that file: a part can run again alone.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.peers.contest import hold
from bench.peers.render import render
from bench.peers.works import OWN, PEERS, Work, sizes, works

BENCH = Path(__file__).parents[1]


def main() -> int:
    """Hold the contests that are asked for, and write what came out."""
    asked = _asked()
    folder = Path(asked.out)
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / "results.json"
    if not asked.render:
        chosen = [w for w in works(asked.quick, asked.rounds) if not asked.only or w.name.startswith(tuple(asked.only))]
        if not chosen:
            names = ", ".join(w.name for w in works(asked.quick, asked.rounds))
            print(f"--only {' '.join(asked.only)}: no such contest; there are {names}", file=sys.stderr)
            return 2
        if not Path(asked.peers).is_file():
            print(f"--peers {asked.peers}: not there; `make bench` installs it", file=sys.stderr)
            return 2
        _hold_all(chosen, asked, results)
    render(results, folder / "RESULTS.md", folder / "images")
    print(f"written: {folder / 'RESULTS.md'}")
    return 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="contests whose names begin so")
    parser.add_argument(
        "--quick", action="store_true", help="small models: whether everything runs, no figures to tell"
    )
    parser.add_argument("--rounds", type=int, default=5, help="clean rounds of each contest")
    parser.add_argument("--most", type=int, default=12, help="rounds in all, where few are clean")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--data", help="folder with tinyshakespeare.txt, alpaca_en.json, hh_harmless.jsonl.gz; else the microworld"
    )
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="Python of the peers' environment")
    parser.add_argument("--out", default=str(BENCH), help="folder of results.json, RESULTS.md and images/")
    parser.add_argument("--render", action="store_true", help="write the page from results.json again, and run nothing")
    return parser.parse_args()


def _hold_all(chosen: list[Work], asked: argparse.Namespace, results: Path) -> None:
    kept = json.loads(results.read_text(encoding="utf-8")) if results.is_file() else {}
    pythons = {OWN: sys.executable, PEERS: asked.peers}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        needs = sorted({need for work in chosen for need in work.needs})
        rows = 400 if asked.quick else 4000
        settings = {"sizes": sizes(asked.quick), "data": asked.data, "rows": rows, "needs": needs}
        subprocess.run([sys.executable, "-m", "bench.peers.prepare", made, json.dumps(settings)], check=True)
        sources = json.loads((folder / "sources.json").read_text())
        for work in chosen:
            began = datetime.datetime.now()
            result = hold(work, folder, pythons, asked.threads, asked.most)
            kept[work.name] = result | _circumstances(
                asked, {k: v for k, v in sources.items() if k in work.name or k in work.needs}
            )
            order = [w.name for w in works(asked.quick, 1)]
            kept = dict(sorted(kept.items(), key=lambda item: order.index(item[0])))
            results.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
            print(f"{work.name}: {datetime.datetime.now() - began}", flush=True)


def _circumstances(asked: argparse.Namespace, sources: dict[str, str]) -> dict[str, Any]:
    """Where, when and how, without names of hosts or paths."""
    only = ["--only", *asked.only] if asked.only else []
    told = [*only, *(["--quick"] if asked.quick else []), f"--rounds {asked.rounds} --threads {asked.threads}"]
    return {
        "machine": _machine(),
        "date": datetime.date.today().isoformat(),
        "commit": _commit(),
        "command": " ".join(["python -m bench.peers", *told]),
        "data": ", ".join(sorted(set(sources.values()))) or "made up",
    }


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB"


def _commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=BENCH).stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", "../llmtrain", "../bench/*.py", "../conf")
    return (git("rev-parse", "--short", "HEAD") or "none") + (" with changes" if changed else "")


if __name__ == "__main__":
    raise SystemExit(main())
