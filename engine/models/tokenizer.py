"""Prompts to token ids, equal to the stock CLIP tokenizer. Used by pipeline.py.

The work is done by the library `tokenizers`; here a tokenizer's folder is read, in either of its
two forms (vocab.json and merges.txt, or tokenizer.json), and the special tokens are settled as
transformers settles them: tokenizer_config.json counts, special_tokens_map.json overrides it unless
the config lists its added tokens, and a token named later takes the place of the same one before.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)

from engine.errors import CheckpointError, DataError
from engine.models.folder import read_json_object

_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
_SPECIAL = {  # in the order in which they are added
    "bos_token": "<|startoftext|>",
    "eos_token": "<|endoftext|>",
    "unk_token": "<|endoftext|>",
    "pad_token": "<|endoftext|>",
}
_LENGTH = 77


class CLIPTokenizer:
    """Turns prompts into rows of ids: start, words, end, padding.

    `max_length` is the length of a row; `highest_id` the largest id that may come out.
    """

    def __init__(self, folder: Path) -> None:
        """Read the tokenizer in `folder`.

        Raises:
            CheckpointError: a file is missing, damaged, or not that of a CLIP tokenizer.
            OSError: a file cannot be read.
        """
        config = _read_optional(folder / "tokenizer_config.json")
        vocabulary, merges, added, source = _read_model(folder)
        special, added = _settle_special_tokens(folder, config, added)

        missing = [
            str(token)
            for name, token in special.items()
            if name != "pad_token"
            and str(token) not in vocabulary
            and str(token) not in map(str, added)
        ]
        if missing:
            raise CheckpointError(
                f"{source} does not hold {missing[0]}, so this is not the tokenizer of a CLIP text "
                "encoder. Use the tokenizer folder of the same model."
            )
        self._tokenizer = _build(vocabulary, merges, special, added)
        self.max_length = _read_length(config, folder / "tokenizer_config.json")
        self.pad_id = _number(self._tokenizer, str(special["pad_token"]))
        self.highest_id = max(self._tokenizer.get_vocab().values())
        self._tokenizer.enable_truncation(self.max_length)
        self._tokenizer.enable_padding(
            pad_id=self.pad_id, pad_token=str(special["pad_token"]), length=self.max_length
        )

    def __call__(self, prompts: Sequence[str]) -> np.ndarray:
        """Return int32 ids (N, max_length); a prompt that is too long loses its end.

        Raises:
            DataError: a prompt is not text that can be encoded.
        """
        try:
            rows = self._tokenizer.encode_batch(list(prompts))
        except (TypeError, UnicodeEncodeError) as error:
            raise DataError(
                f"A prompt cannot be read ({error}). Give text, saved as UTF-8."
            ) from error
        return np.array([row.ids for row in rows], dtype=np.int32).reshape(-1, self.max_length)

    def dropped(self, prompt: str) -> int:
        """Return how many tokens of a prompt do not fit into a row and are cut off."""
        rest = self._tokenizer.encode(prompt).overflowing
        return sum(part.special_tokens_mask.count(0) for part in rest)


def _build(
    vocabulary: dict[str, int],
    merges: list[tuple[str, str]],
    special: dict[str, AddedToken],
    added: list[AddedToken],
) -> Tokenizer:
    """Return the tokenizer of OpenAI's CLIP (Radford et al. 2021) over a vocabulary."""
    tokenizer = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=merges,
            unk_token=str(special["unk_token"]),
            end_of_word_suffix="</w>",
            continuing_subword_prefix="",
            fuse_unk=False,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    tokenizer.add_tokens([*added, *special.values()])
    end, start = str(special["eos_token"]), str(special["bos_token"])
    tokenizer.post_processor = processors.RobertaProcessing(
        (end, _number(tokenizer, end)),
        (start, _number(tokenizer, start)),
        trim_offsets=False,
        add_prefix_space=False,
    )
    return tokenizer


def _number(tokenizer: Tokenizer, token: str) -> int:
    number = tokenizer.token_to_id(token)
    assert number is not None  # all special tokens were added
    return number


def _read_model(
    folder: Path,
) -> tuple[dict[str, int], list[tuple[str, str]], list[AddedToken], Path]:
    """Return vocabulary, merges, added tokens, and the file that says them."""
    path, merges_path = folder / "vocab.json", folder / "merges.txt"
    if path.is_file() and merges_path.is_file():
        vocabulary = _checked_vocabulary(read_json_object(path), path)
        return vocabulary, _read_merges(merges_path, vocabulary), [], path
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise CheckpointError(
            f"{folder}: neither vocab.json with merges.txt nor tokenizer.json is there. Fetch the "
            "tokenizer too."
        )
    content = read_json_object(path)
    model = content.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        kind = model.get("type") if isinstance(model, dict) else None
        raise CheckpointError(
            f"{path}: model.type is {kind!r}, but 'BPE' is wanted, as CLIP has it. Use the "
            "tokenizer folder of the same model."
        )
    merges = model.get("merges")
    if not isinstance(merges, list):
        raise CheckpointError(f"{path}: model.merges is missing. Fetch the file again.")
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    tokens = [
        _added_token({key: value for key, value in entry.items() if key != "id"})
        for entry in content.get("added_tokens") or []
    ]
    vocabulary = _checked_vocabulary(model.get("vocab"), path)
    return vocabulary, _checked_merges(pairs, vocabulary, path), tokens, path


def _checked_vocabulary(vocabulary: Any, path: Path) -> dict[str, int]:
    if (
        not isinstance(vocabulary, dict)
        or not vocabulary
        or not all(isinstance(value, int) and value >= 0 for value in vocabulary.values())
    ):
        raise CheckpointError(
            f"{path}: no vocabulary, an object from token to number, was found. Fetch it again."
        )
    return vocabulary


def _read_merges(path: Path, vocabulary: dict[str, int]) -> list[tuple[str, str]]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is not UTF-8 ({error}). Fetch the file again.") from error
    pairs = [line.split(" ") for line in lines if line and not line.startswith("#version")]
    return _checked_merges(pairs, vocabulary, path)


def _checked_merges(
    pairs: list[list[str]], vocabulary: dict[str, int], path: Path
) -> list[tuple[str, str]]:
    for number, pair in enumerate(pairs, start=1):
        if len(pair) != 2 or not {*pair, "".join(pair)} <= vocabulary.keys():
            raise CheckpointError(
                f"{path}: merge {number} is {' '.join(pair)!r}, but two tokens of the vocabulary "
                "that make a third are wanted. Use the files of one and the same tokenizer."
            )
    return [(first, second) for first, second in pairs]


def _settle_special_tokens(
    folder: Path, config: dict[str, Any], added: list[AddedToken]
) -> tuple[dict[str, AddedToken], list[AddedToken]]:
    """Return start, end, unknown and padding token, and the others that were added."""
    values = {name: config.get(name) or default for name, default in _SPECIAL.items()}
    listed = config.get("added_tokens_decoder")
    if isinstance(listed, dict):
        added = [_added_token(entry) for _, entry in sorted(listed.items(), key=_by_number)]
    else:
        overrides = _read_optional(folder / "special_tokens_map.json")
        values |= {name: value for name, value in overrides.items() if name in _SPECIAL and value}
        added = [*added, *_read_added_tokens(folder, values)]
    known = {str(token): token for token in added}
    special = {
        name: known.get(_content(value)) or _added_token(value, is_special=True)
        for name, value in values.items()
    }
    return special, added


def _read_added_tokens(folder: Path, values: dict[str, Any]) -> Iterator[AddedToken]:
    names = {_content(value) for value in values.values()}
    entries = _read_optional(folder / "added_tokens.json")
    for content, _ in sorted(entries.items(), key=lambda entry: entry[1]):
        is_special = content in names
        yield AddedToken(content, normalized=not is_special, special=is_special)


def _by_number(entry: tuple[str, Any]) -> int:
    return int(entry[0])


def _content(value: Any) -> str:
    return str(value.get("content")) if isinstance(value, dict) else str(value)


def _added_token(value: Any, *, is_special: bool = False) -> AddedToken:
    if not isinstance(value, dict):
        return AddedToken(str(value), special=True)
    options = {key: flag for key, flag in value.items() if key not in ("__type", "content")}
    return AddedToken(_content(value), **(options | ({"special": True} if is_special else {})))


def _read_optional(path: Path) -> dict[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _read_length(config: dict[str, Any], path: Path) -> int:
    length = config.get("model_max_length", _LENGTH)
    if isinstance(length, float) and length > 1e6:  # "as long as one likes", as some write it
        length = _LENGTH
    if not isinstance(length, int) or not 3 <= length <= 10_000:
        raise CheckpointError(
            f"{path}: model_max_length is {length!r}, but a whole number of at least 3 is wanted."
        )
    return length
