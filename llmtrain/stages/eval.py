"""eval: answer held-out prompts with a checkpoint; gold grades where graders exist, and the loss on demonstrations."""

from pathlib import Path

import torch
from rich.console import Console

from llmtrain.config.schema import DataName, Eval
from llmtrain.data.pack import by_tokens, pack, targets
from llmtrain.data.records import Kind
from llmtrain.errors import Interrupted
from llmtrain.evaluate import hhh
from llmtrain.models import causal
from llmtrain.objectives import lm
from llmtrain.run import lineage
from llmtrain.run.session import Session, StopAsked
from llmtrain.stages import inputs, setup
from llmtrain.stages.policy import complete, text_of

STAGES = ("ppo", "dpo", "sft", "pretrain")


def run(config: Eval, path: Path) -> dict:
    """Evaluate config.init on the microworld's test prompts, or on the held-out rows of files."""
    mesh = setup.mesh_of(config)
    with setup.session_of(config, path, mesh) as session:
        origin = setup.origin_of(config, path, "init", config.init, STAGES)
        tokenizer = setup.tokenizer_at(origin.path, chat=True)
        model = setup.model_at(origin.path, mesh).eval()
        lineage.write(path, {"init": origin}, {})
        try:
            if config.data.name is DataName.microworld:
                return _graded(config, session, model, tokenizer)
            return _loss(config, session, model, tokenizer)
        except StopAsked as asked:
            raise Interrupted(asked.signal, f"start again with: {session.resume_command}") from None


def _graded(config: Eval, session: Session, model, tokenizer) -> dict:
    prompts = inputs.held_out(config.data, "test", config.data.eval_rows, tokenizer)
    answers = complete(model, tokenizer, prompts.ids, config.sampling, config.seed, "eval", session=session)
    texts = [(text_of(tokenizer, a), a.ended) for a in answers]
    found = hhh.grades(prompts.records, texts)
    rates = hhh.rates(found)
    session.write_lines("answers.jsonl", hhh.rows(prompts.records, texts))
    families = {f"gold/{name}": rate.value for name, rate in sorted(found.items()) if "." in name}
    metrics = {f"gold/{h}": rates[h]["rate"] for h in rates} | families
    metrics["gold/min"] = min(rates[h]["rate"] for h in rates)
    session.log(0, metrics)
    if session.mesh.first:
        hhh.save({"eval": rates}, session.path)
        Console().print(hhh.table({"eval": rates}))
    n = len(texts)
    return session.finish("finished", f"{n} prompts answered", 0, metrics, headline="gold/min", hhh=rates)


@torch.no_grad()
def _loss(config: Eval, session: Session, model, tokenizer) -> dict:
    rows = inputs.opened(config, config.data, Kind.chat, tokenizer)
    held = rows.split.eval[: config.data.eval_rows]
    ids = [rows.table.column("ids")[i] for i in held]
    masks = [rows.table.column("mask")[i] for i in held]
    nats = tokens = 0.0
    for part in by_tokens([len(row) for row in ids], config.micro_tokens):
        session.poll_alone()
        packed = pack([ids[i] for i in part])
        wanted = targets(packed, [masks[i] for i in part])
        logp = causal.logprobs(model, packed.to(model.device), wanted.to(model.device))
        nats, tokens = nats - float(logp.sum()), tokens + len(logp)
    metrics = {"eval/loss": nats / tokens, "eval/perplexity": lm.perplexity(nats, tokens)}
    session.log(0, metrics)
    return session.finish("finished", f"{len(ids)} conversations", 0, metrics, headline="eval/loss")
