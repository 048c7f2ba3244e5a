"""Build the wheel, install it in an empty environment outside the checkout, and run the whole pipeline from there.

Run as a script (`make wheel-test`), not by pytest: it makes an environment of its own and takes minutes.
"""

import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The recipe `tiny` with a fraction of its steps: the point is that every file of the wheel is there and found.
SMALL = """
pretrain.max_steps=60 pretrain.data.rows=800 sft.data.rows=800 sft.epochs=3 sample.data.rows=64 reward.epochs=1
reward.data.eval_fraction=0.3 ppo.max_steps=1 ppo.batch.rows=16 ppo.data.rows=64 ppo.data.eval_rows=30
ppo.judge.require_probes=false eval.data.eval_rows=30
""".split()


def run(*command: str | Path, cwd: Path) -> None:
    print("+", *command, flush=True)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    subprocess.run(list(map(str, command)), cwd=cwd, env=clean, check=True)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        run(sys.executable, "-m", "build", "--wheel", "--outdir", place / "dist", ROOT, cwd=place)
        (wheel,) = (place / "dist").glob("*.whl")
        venv.create(place / "env", with_pip=True)
        python = place / "env" / "bin" / "python"
        pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        constraints = ("--constraint", ROOT / "constraints.txt")
        run(*pip, *constraints, "torch", cwd=place)
        run(*pip, *constraints, wheel, cwd=place)
        work = place / "work"
        work.mkdir()
        run(place / "env" / "bin" / "llmtrain", "pipeline", "conf=tiny", *SMALL, cwd=work)
        assert (work / "runs/pipeline/tiny/latest/hhh.json").is_file()
        print("the wheel works: hhh.json written outside the checkout")


if __name__ == "__main__":
    main()
