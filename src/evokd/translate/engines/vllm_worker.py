"""vLLM's side of `vllm_engine.py`: run by the Python of its environment, which knows no evokd.

A line of JSON comes in, a line goes out:

    arguments of vllm.LLM                → {"version"}
    {"prompts", "caps", "stops"}         → {"answers"}: token ids with the one that stopped each
    whatever goes wrong                  → {"error"}

It ends when there is nothing more to read. What vLLM prints goes to stderr.
"""

import json
import os
import sys


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # vLLM prints to stdout, its processes do, too

    def tell(message: dict) -> None:
        answers.write(json.dumps(message) + "\n")
        answers.flush()

    llm = None
    for line in sys.stdin:
        try:
            if llm is None:
                import vllm

                llm = vllm.LLM(**json.loads(line))
                tell({"version": vllm.__version__})
            else:
                tell({"answers": generate(llm, **json.loads(line))})
        except Exception as error:
            tell({"error": f"{type(error).__name__}: {error}"})
            raise


def generate(llm, prompts: list, caps: list, stops: list) -> list:
    """Greedy answers to token ids."""
    from vllm import SamplingParams

    how = [
        SamplingParams(temperature=0.0, max_tokens=cap, stop_token_ids=stops, detokenize=False)
        for cap in caps
    ]
    asked = [{"prompt_token_ids": prompt} for prompt in prompts]
    outputs = [each.outputs[0] for each in llm.generate(asked, how, use_tqdm=False)]
    return [stopped(list(one.token_ids), one, set(stops)) for one in outputs]


def stopped(ids: list, output, stops: set) -> list:
    """An answer's tokens with the one that stopped it, whether or not vLLM has it among them."""
    ended = output.finish_reason == "stop" and not (ids and ids[-1] in stops)
    return [*ids, output.stop_reason] if ended and isinstance(output.stop_reason, int) else ids


if __name__ == "__main__":
    main()
