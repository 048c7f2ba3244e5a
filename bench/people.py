"""The demo with people in the loop, played by a script: a pipeline that waits for rankings, entered in a real browser.

    python -m bench.people [--prompts 1000] [KEY=VALUE ...]

`llmtrain pipeline annotate=people` trains, samples and opens its page; Chromium (driven by Playwright) enters by the
link that the terminal shows, reads each prompt and its answers from the page, and types a rank for each answer as a
person would: key by key, then Enter. What it types are the gold grades of the microworld, so this measures the way from
the page to the policy, not the judgement of people. Ends with what the judge and the policy came to.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from llmtrain.data.microworld import rows as microworld
from llmtrain.data.microworld.world import World
from llmtrain.data.records import Prompt
from llmtrain.run.seeding import derive

LINK = re.compile(r"(http://127\.0\.0\.1:\d+/#k=\S+)")
ROWS = 1800  # prompts that the sampling of the recipe answers


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("settings", nargs="*", help="further settings of the pipeline")
    asked = parser.parse_args()
    command = [str(Path(sys.executable).with_name("llmtrain")), "pipeline", "annotate=people", "run.name=people"]
    command += [f"rank.prompts={asked.prompts}", *asked.settings]
    print(" ".join(["llmtrain", *command[1:]]), flush=True)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    place = ""
    for line in child.stdout:
        print(line, end="", flush=True)
        found = LINK.search(line)
        if found:
            print(rank(found[1]), flush=True)
        place = line.split()[1] if line.startswith("everything:") else place
    if child.wait() == 0 and place:
        print(report(Path(place)))
    return child.returncode


def rank(link: str) -> str:
    """Enter by `link` and rank until there is nothing left; says how that went."""
    seed = derive(1, "prompts")  # of the first round of a pipeline with seed=0
    known = {p.messages[-1].content: p for p in microworld.prompts(World(0), "train", ROWS, seed)}
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is not on PATH"
    began, done = time.monotonic(), 0
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(link)
        page.wait_for_selector("#task:not([hidden])")
        while page.is_visible("#task"):
            done += 1
            answer(page, known)
            page.wait_for_function(
                "mine => document.getElementById('count').textContent.endsWith(`, ${mine} yours`)", arg=done
            )
        browser.close()
    return f"{done} prompts ranked in the browser in {time.monotonic() - began:.0f} s"


def answer(page: Page, known: dict[str, Prompt]) -> None:
    """Type the rank of each answer, from top to bottom, and send them."""
    prompt = known[page.locator("#turns .text").last.text_content() or ""]
    levels = [microworld.grade(prompt, text, True) for text in page.locator("#answers .text").all_text_contents()]
    places = {level: place for place, level in enumerate(sorted(set(levels), reverse=True), start=1)}
    for level in levels:
        page.keyboard.press(str(places[level]))
    page.keyboard.press("Enter")


def report(place: Path) -> str:
    """What the run came to, from its records."""

    def result(stage: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((place / stage / "result.json").read_text(encoding="utf-8"))
        return found

    ranked, judge, policy = (result(stage)["metrics"] for stage in ("rank", "reward", "ppo"))
    lines = [
        f"rank: {ranked['votes']:.0f} votes on {ranked['prompts']:.0f} prompts, {ranked['rankings']:.0f} rankings",
        f"reward: pair accuracy {judge['eval/accuracy']:.3f}, log-loss {judge['eval/log_loss']:.3f}",
        f"ppo: score {policy['eval/score']:.3f}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
