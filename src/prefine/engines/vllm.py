"""vLLM's offline engine, in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, ClassVar

from prefine.engines.base import Deliver, Engine, Outcome, Reply, Request
from prefine.errors import missing_extra
from prefine.models.load import load_tokenizer, model_digest, model_spec, resolve
from prefine.recipe import Recipe
from prefine.registry import engines


@engines.register("vllm")
class VLLMEngine(Engine):
    """vLLM in this process, for a GPU: text, the first token's alternatives, log-probs of given responses.

    Formula: what vLLM samples with a seed made of the request's key, on the token ids that training would use
    Defaults: model: a path or a block like the recipe's `model`; max_model_len: null is the model's own;
    arguments: more arguments of vllm.LLM; plain_text: true applies no chat template
    Needs: a GPU and the extra `vllm` in an environment whose torch it accepts
    """

    features = frozenset({"first_token", "score", "seed", "user_turn"})
    counts: ClassVar[tuple[str, ...]] = ("plain_text",)
    local_model: ClassVar[bool] = True

    def __init__(
        self,
        model: str | dict,
        max_model_len: int | None = None,
        gpu_memory_utilization: float = 0.9,
        tensor_parallel_size: int = 1,
        plain_text: bool = False,
        arguments: dict | None = None,
    ) -> None:
        if not 0 < gpu_memory_utilization <= 1:
            raise ValueError(f"gpu_memory_utilization must be above 0 and at most 1, not {gpu_memory_utilization}")
        self.spec, self.plain_text = model_spec(model), plain_text
        self.arguments = {
            "enable_prefix_caching": True,
            "max_model_len": max_model_len,
            "gpu_memory_utilization": gpu_memory_utilization,
            "tensor_parallel_size": tensor_parallel_size,
            **(arguments or {}),
        }
        self._digest = ""
        self._llm: Any = None
        self._tokenizer: Any = None

    def prepare(self, recipe: Recipe) -> dict[str, Any]:
        _vllm()
        self._digest = model_digest(self.spec)
        return {"model": self.spec.path, "digest": self._digest}

    def identity(self) -> dict[str, str]:
        return {"model": self._digest or model_digest(self.spec), "plain_text": str(self.plain_text), "by": "vllm"}

    def send(self, requests: Sequence[Request], deliver: Deliver) -> None:
        from prefine.data.chat import Dropped

        vllm = self._load()
        prompts, params, places, starts = [], [], [], []
        for i, request in enumerate(requests):
            try:
                ids, start = self._ids(request)
            except Dropped as dropped:
                deliver(i, Outcome("failed_permanent", error=f"{dropped.reason}: {dropped.detail}"))
                continue
            longest = self._llm.llm_engine.model_config.max_model_len
            if len(ids) >= longest:
                text = f"context_length: {len(ids)} tokens, the model's context is {longest}"
                deliver(i, Outcome("failed_permanent", error=text))
                continue
            prompts.append({"prompt_token_ids": ids})
            params.append(vllm.SamplingParams(**self._params(request, start is not None)))
            places.append(i)
            starts.append(start)
        outputs = self._llm.generate(prompts, params, use_tqdm=False) if prompts else []
        for i, start, output in zip(places, starts, outputs, strict=True):
            deliver(i, self._outcome(requests[i], start, output))

    def _ids(self, request: Request) -> tuple[list[int], int | None]:
        """Token ids to read, and where a given response begins in them."""
        from prefine.data.chat import encode, prompt_ids, user_turn_ids

        messages = list(request.messages)
        if request.response is not None:
            response = [{"role": "assistant", "content": request.response}]
            item = encode(self._tokenizer, messages, [response], plain_text=self.plain_text)  # type: ignore[list-item]
            return item.prompt_ids + item.responses[0], len(item.prompt_ids)
        if messages and messages[-1]["role"] in ("user", "tool"):
            return prompt_ids(self._tokenizer, messages, plain_text=self.plain_text), None
        return user_turn_ids(self._tokenizer, messages), None

    def _params(self, request: Request, score: bool) -> dict[str, Any]:
        s = request.sampling
        if score:
            return {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0}
        return {
            "temperature": s.temperature,
            "top_p": s.top_p,
            "top_k": s.top_k or -1,
            "max_tokens": s.max_tokens,
            "stop": list(s.stop),
            "seed": int(request.key(self.identity())[:8], 16) if s.temperature else None,
            "logprobs": s.top_logprobs,
        }

    def _outcome(self, request: Request, start: int | None, output: Any) -> Outcome:
        """What vLLM gave, as the reply that the ledger keeps."""
        if start is not None:
            ids, table = output.prompt_token_ids[start:], output.prompt_logprobs[start:]
            logps = [entry[token].logprob for token, entry in zip(ids, table, strict=True)]
            reply = Reply(request.response or "", "stop", logps=logps, prompt_tokens=start, model=self.spec.path)
        else:
            done = output.outputs[0]
            reply = Reply(
                done.text.strip(),
                "stop" if done.finish_reason == "stop" else "length",
                logps=[entry[token].logprob for token, entry in zip(done.token_ids, done.logprobs or (), strict=False)],
                prompt_tokens=len(output.prompt_token_ids),
                completion_tokens=len(done.token_ids),
                model=self.spec.path,
            )
            if request.sampling.top_logprobs and done.logprobs:
                for entry in done.logprobs[0].values():
                    old = reply.first_token.get(entry.decoded_token)
                    p = math.exp(entry.logprob) + (math.exp(old) if old is not None else 0.0)
                    reply.first_token[entry.decoded_token] = math.log(p)
        raw = json.dumps(asdict(reply), ensure_ascii=False)
        return Outcome(raw=raw, prompt_tokens=reply.prompt_tokens, completion_tokens=reply.completion_tokens)

    def _load(self) -> Any:
        vllm = _vllm()
        if self._llm is None:
            given = {k: v for k, v in self.arguments.items() if v is not None}
            kind = "auto" if self.spec.dtype == "auto" else self.spec.dtype
            self._tokenizer = load_tokenizer(self.spec)
            self._llm = vllm.LLM(
                model=resolve(self.spec.path),
                revision=self.spec.revision,
                dtype=kind,
                logprobs_mode="raw_logprobs",
                **given,
            )
        return vllm

    def read(self, request: Request, raw: str) -> Reply:
        return Reply(**json.loads(raw))

    def close(self) -> None:
        self._llm = None


def _vllm() -> Any:
    try:
        import vllm  # type: ignore[import-not-found]
    except ImportError as error:
        raise missing_extra("engine 'vllm'", "vllm") from error
    return vllm
