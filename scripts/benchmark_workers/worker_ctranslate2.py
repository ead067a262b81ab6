# Copyright 2026 The hf_rnn_attn authors.
# SPDX-License-Identifier: Apache-2.0
"""CTranslate2, float32 and int8, with the random MarianMT of the benchmark converted."""

import tempfile

import ctranslate2
from ctranslate2.converters.transformers import MarianMTLoader
from serving import decoding_tasks, serve
from worker_marian import EOS, new_model


def build(workload: dict):
    vocabulary = workload["sizes"]["vocabulary"]
    model = new_model(workload["parameters"], vocabulary)
    tasks = decoding_tasks(workload, decoder(model, vocabulary, workload, "float32"))
    in_int8 = decoding_tasks(workload, decoder(model, vocabulary, workload, "int8"))
    return tasks | {f"{name} int8": task for name, task in in_int8.items()}


def decoder(model, vocabulary: int, workload: dict, precision: str):
    translator, length = convert(model, vocabulary, workload["threads"], precision), workload["length"]

    def decode(rows, beams):
        sentences = [[str(word) for word in row] + ["</s>"] for row in rows]
        results = translator.translate_batch(
            sentences, beam_size=beams, min_decoding_length=length, max_decoding_length=length
        )
        return sum(len(result.hypotheses[0]) for result in results)

    return decode


def convert(model, vocabulary: int, threads: int, precision: str) -> ctranslate2.Translator:
    """The model with numbers as words, in the precision that it computes in."""
    spec = MarianMTLoader().get_model_spec(model)
    # the loader drops the padding, which comes last
    words = ["</s>" if number == EOS else str(number) for number in range(vocabulary - 1)]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.config.eos_token, spec.config.decoder_start_token, spec.config.unk_token = "</s>", "</s>", "1"
    spec.config.add_source_eos = False
    spec.validate()
    spec.optimize(quantization=precision)
    with tempfile.TemporaryDirectory() as folder:
        spec.save(folder)
        return ctranslate2.Translator(folder, inter_threads=1, intra_threads=threads, compute_type=precision)


if __name__ == "__main__":
    serve(build)
