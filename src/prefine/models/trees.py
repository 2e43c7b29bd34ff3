"""Prompt trees: a prompt's tokens once, its responses after it, several trees in a row, no row wider than needed.

A *tree* is a prompt with its K responses. Positions restart after the prompt for each response, and siblings do not see
each other, so that every response has the log-probability it would have alone. There are three ways to lay trees out:

- `cascade`: all trees of a micro-batch end to end in one row, without padding; `models.attention` knows the segments.
- `dense`: several trees in a row and several rows, with a mask, for models whose attention asks for more than that.
- `separate`: each response in a row of its own, which is right for every model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from prefine.models.attention import Segments

if TYPE_CHECKING:
    from prefine.data.chat import Encoded

Mode = Literal["cascade", "dense", "separate"]

ROW = 256
"""Shortest width that rows are filled to; a longer tree widens its row."""


@dataclass
class Packed:
    """Trees laid out in R rows of width T, and where their log-probs are found.

    ids, positions: (R, T) long. tree: (R, T), the tree of each token within its row, -1 for padding; branch: (R, T),
    0 on a
    prompt and k on its k-th response. row, column: (n,) the hidden state that predicts label i; labels: (n,); response:
    (n,) the response, numbered through the batch, that label i belongs to, and place: (n,) its position among that
    response's labels. With num_prompts, the tokens of the prompts are labels too, of "responses" numbered after the
    true ones.
    """

    ids: Tensor
    positions: Tensor
    tree: Tensor
    branch: Tensor
    row: Tensor
    column: Tensor
    labels: Tensor
    response: Tensor
    place: Tensor
    num_responses: int
    mode: Mode
    segments: Segments | None = None
    longest: int = 0
    num_prompts: int = 0

    def to(self, device: torch.device) -> Packed:
        return replace(self, **{k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)})

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int((self.tree >= 0).sum())

    def attention_mask(self) -> Tensor:
        """Who sees whom, (R, 1, T, T) bool: one's own prompt, one's own response up to here, padding only itself."""
        t = self.ids.shape[1]
        same_tree = self.tree[:, :, None] == self.tree[:, None, :]
        visible = (self.branch[:, None, :] == 0) | (self.branch[:, :, None] == self.branch[:, None, :])
        causal = torch.ones(t, t, dtype=torch.bool, device=self.ids.device).tril()
        return (same_tree & visible & causal)[:, None]


def tree_size(item: Encoded) -> int:
    """Tokens of a prompt and its responses, the prompt counted once."""
    return len(item.prompt_ids) + sum(map(len, item.responses))


def longest_path(item: Encoded) -> int:
    """Tokens from the start of the prompt to the end of its longest response."""
    return len(item.prompt_ids) + max(map(len, item.responses))


def pack(items: Sequence[Encoded], *, mode: Mode = "dense", prompts: bool = False, pad_id: int = 0) -> Packed:
    """Lay the items out. Responses are numbered in the order of the items, siblings in their order.

    With `prompts`, each prompt's tokens from the second on are labels too, once for each item.
    """
    if mode == "separate":
        rows = [[_Branch(i, [k])] for i, item in enumerate(items) for k in range(len(item.responses))]
    elif mode == "cascade":
        rows = [[_Branch(i, list(range(len(item.responses)))) for i, item in enumerate(items)]]
    else:
        rows = _fill(items)
    first = [0]
    for item in items:
        first.append(first[-1] + len(item.responses))
    width = max(sum(_size(items[b.item], b.branches) for b in row) for row in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    positions = torch.zeros_like(ids)
    tree = torch.full_like(ids, -1)
    branch = torch.zeros_like(ids)
    at_row: list[int] = []
    at_column: list[int] = []
    labels: list[int] = []
    response: list[int] = []
    place: list[int] = []
    for r, row in enumerate(rows):
        start = 0
        for t, node in enumerate(row):
            item = items[node.item]
            prompt_end = start + len(item.prompt_ids)
            ids[r, start:prompt_end] = torch.tensor(item.prompt_ids)
            positions[r, start:prompt_end] = torch.arange(len(item.prompt_ids))
            end = prompt_end
            if prompts and node.branches[0] == 0:
                scored = range(1, len(item.prompt_ids))
                at_row += [r] * len(scored)
                at_column += [start + j - 1 for j in scored]
                labels += item.prompt_ids[1:]
                response += [first[-1] + node.item] * len(scored)
                place += [j - 1 for j in scored]
            for k in node.branches:
                tokens, mask = item.responses[k], item.masks[k]
                begin, end = end, end + len(tokens)
                ids[r, begin:end] = torch.tensor(tokens)
                positions[r, begin:end] = torch.arange(len(item.prompt_ids), len(item.prompt_ids) + len(tokens))
                branch[r, begin:end] = k + 1
                begun = len(place)
                for j, trained in enumerate(mask):
                    if trained:
                        place.append(len(place) - begun)
                        at_row.append(r)
                        at_column.append(prompt_end - 1 if j == 0 else begin + j - 1)
                        labels.append(tokens[j])
                        response.append(first[node.item] + k)
            tree[r, start:end] = t
            start = end
    row_of, column_of, label, owner, at = (
        torch.tensor(x, dtype=torch.long) for x in (at_row, at_column, labels, response, place)
    )
    made = Packed(ids, positions, tree, branch, row_of, column_of, label, owner, at, first[-1], mode)
    made.num_prompts = len(items) if prompts else 0
    made.longest = max(map(longest_path, items))
    if mode == "cascade":
        made.segments = segments_of(items)
    return made


def segments_of(items: Sequence[Encoded]) -> Segments:
    """The segments of trees that stand end to end: each prompt, and its responses as its children."""
    spans: list[tuple[int, int]] = []
    parents: list[int] = []
    at = 0
    for item in items:
        root = len(spans)
        for parent, tokens in ((-1, item.prompt_ids), *((root, r) for r in item.responses)):
            spans.append((at, at + len(tokens)))
            parents.append(parent)
            at += len(tokens)
    return Segments(spans, parents)


@dataclass
class _Branch:
    item: int
    branches: list[int]


def _size(item: Encoded, branches: list[int]) -> int:
    return len(item.prompt_ids) + sum(len(item.responses[k]) for k in branches)


def _fill(items: Sequence[Encoded]) -> list[list[_Branch]]:
    """First fit, longest tree first, into rows as wide as the longest tree (at least `ROW`)."""
    sizes = [tree_size(item) for item in items]
    width = max([ROW, *sizes])
    rows: list[list[_Branch]] = []
    free: list[int] = []
    for i in sorted(range(len(items)), key=lambda i: (-sizes[i], i)):
        node = _Branch(i, list(range(len(items[i].responses))))
        for r, room in enumerate(free):
            if sizes[i] <= room:
                rows[r].append(node)
                free[r] -= sizes[i]
                break
        else:
            rows.append([node])
            free.append(width - sizes[i])
    return rows


def micro_batches(items: Sequence[Encoded], max_tokens: int, *, mode: Mode = "dense") -> list[list[int]]:
    """Cut items into micro-batches of at most `max_tokens` padded tokens; an item that is longer gets one of its own.

    The order is deterministic and every item occurs once. Without padding, trees fill as few micro-batches as they can;
    otherwise items of like size go together.
    """
    order = sorted(range(len(items)), key=lambda i: (-tree_size(items[i]), i))
    return _first_fit(items, order, max_tokens) if mode == "cascade" else _alike(items, order, max_tokens, mode)


def _first_fit(items: Sequence[Encoded], order: list[int], max_tokens: int) -> list[list[int]]:
    """Largest first, each into the first micro-batch with room."""
    out: list[list[int]] = []
    used: list[int] = []
    for i in order:
        size = tree_size(items[i])
        at = next((j for j, total in enumerate(used) if total + size <= max_tokens), None)
        if at is None:
            out.append([i])
            used.append(size)
        else:
            out[at].append(i)
            used[at] += size
    return out


def _alike(items: Sequence[Encoded], order: list[int], max_tokens: int, mode: Mode) -> list[list[int]]:
    separate = mode == "separate"
    out: list[list[int]] = []
    current: list[int] = []
    width = used = 0
    for i in order:
        rows = len(items[i].responses) if separate else 1
        size = longest_path(items[i]) if separate else tree_size(items[i])
        new_width = max(width, size)
        cost = (used + rows) * new_width if separate else used + size
        # A row is as wide as its widest neighbor and attention costs its square, so sizes are kept within a factor of
        # two.
        lopsided = not separate and width > ROW and 2 * size < width
        if current and (cost > max_tokens or lopsided):
            out.append(current)
            current, width, used = [], 0, 0
            new_width = size
        current.append(i)
        width = new_width
        used += rows if separate else size
    if current:
        out.append(current)
    return out
