"""Tokenizers: train a byte-level BPE or a character vocabulary, load, save, identify one."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from llmtrain.errors import ConfigError, InitError
from llmtrain.text import foreign, template

PAD, END, SYSTEM, USER, ASSISTANT = "<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"
SPECIALS = [PAD, END, SYSTEM, USER, ASSISTANT]  # ids 0..4
UNKNOWN = "<|unknown|>"  # id 5 of a character tokenizer; plain.encode refuses a text that needs it
LONGEST = 255  # characters of a file's name
HUB_FILES = ["*.json", "*.jinja", "merges.txt", "vocab.txt", "*.model"]


def train_bpe(texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE with our special tokens and chat template. The same texts give the same tokenizer.

    vocab_size: entries in all, the 5 special tokens and the 256 bytes included; a small corpus may give fewer.
    """
    return bpe_of(bpe_rules(texts, vocab_size))


def bpe_of(rules: str) -> PreTrainedTokenizerFast:
    """The tokenizer of what `bpe_rules` gave."""
    return _wrap(Tokenizer.from_str(rules), None)


def bpe_rules(texts: Iterable[str], vocab_size: int) -> str:
    """What is trained of `train_bpe`, as text."""
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    smallest = len(alphabet) + len(SPECIALS)
    if vocab_size < smallest:
        raise ConfigError(f"tokenizer.vocab_size={vocab_size} is below {smallest}: 256 bytes and 5 special tokens")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    # sorted: the set's own order differs from one process to the next
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIALS, initial_alphabet=sorted(alphabet), show_progress=False
    )
    _beside(lambda fed: backend.train_from_iterator(fed, trainer), texts)
    return backend.to_str()


def _beside(work: Callable[[Iterator[str]], None], texts: Iterable[str]) -> None:
    """work(texts) in a thread: Python hears no signal while the main thread is in Rust, and this takes minutes."""
    stopped, ended = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def feed() -> Iterator[str]:
        for text in texts:
            if stopped.is_set():
                raise RuntimeError("stopped")
            yield text

    def run() -> None:
        try:
            work(feed())
        except BaseException as error:  # it is raised again where it is waited for
            errors.append(error)
        finally:
            ended.set()

    threading.Thread(target=run, daemon=True).start()
    try:
        ended.wait()
    except BaseException:  # a signal; the thread ends at its next text, or with the program
        stopped.set()
        ended.wait(timeout=0.2)
        raise
    if errors:
        raise errors[0]


def train_char(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """One token per character of `texts`, in code point order, after the special tokens."""
    characters: set[str] = set()
    for text in texts:
        characters.update(text)
    entries = [*SPECIALS, UNKNOWN, *sorted(characters)]
    backend = Tokenizer(models.WordLevel({entry: n for n, entry in enumerate(entries)}, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return _wrap(backend, UNKNOWN)


def _wrap(backend: Tokenizer, unknown: str | None) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=END,
        unk_token=unknown,
        extra_special_tokens=[SYSTEM, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
    )
    template.install(tokenizer)
    return tokenizer


def load(path_or_id: str) -> PreTrainedTokenizerBase:
    """A tokenizer from a local directory or the hub. InitError when it is not there, or has no end-of-text token."""
    folder = Path(path_or_id).expanduser()
    if len(folder.name) > LONGEST or not folder.is_dir():
        folder = _download(path_or_id)
    foreign.check(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # transformers lets through whatever a malformed file leads to
        reason = " ".join(str(error).split())[:200]
        raise InitError(f"{path_or_id}: no tokenizer can be loaded from it ({reason})") from error
    if tokenizer.eos_token_id is None:
        raise InitError(f"{path_or_id}: the tokenizer has no eos_token; set one in tokenizer_config.json")
    return tokenizer


def _download(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (OSError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
        raise InitError(f"{name}: neither a directory nor a tokenizer on the hub ({str(error)[:200]})") from error


def save(tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    """Write it as Hugging Face files; `load` and AutoTokenizer read them."""
    tokenizer.save_pretrained(str(path))


def digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """sha256 of all that decides ids: vocabulary, merges, special tokens, chat template."""
    vocabulary = tokenizer.get_vocab()
    rules = tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else json.dumps(vocabulary, sort_keys=True)
    parts = [rules, str(tokenizer.chat_template), str(tokenizer.eos_token), str(tokenizer.pad_token)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def byte_lengths(tokenizer: PreTrainedTokenizerBase) -> np.ndarray:
    """[V] int64: the UTF-8 bytes that each token stands for; 0 for special tokens, which stand for none."""
    special = set(tokenizer.all_special_ids)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    one_byte_a_character = isinstance(tokenizer.backend_tokenizer.decoder, decoders.ByteLevel)

    def width(token: str) -> int:
        if one_byte_a_character:  # a byte-level token is written with one character per byte
            return len(token)
        if re.fullmatch(r"<0x[0-9A-F]{2}>", token):  # SentencePiece's byte fallback
            return 1
        return len(token.replace("\u2581", " ").encode())

    return np.array([0 if i in special else width(token) for i, token in enumerate(tokens)], dtype=np.int64)
