"""The first bytes of LFM2-24B-A2B at Q4_K_M: header_24b.py OUT.gguf.

Metadata and tensor table as the file has them, so the shape and every size; no vocabulary
and none of the 14.4 GB behind the table. What sluice plan needs of a file not yet here.
"""

import sys

import gguf_writer as g

BLOCK = {g.F32: (1, 4), g.Q4_K: (256, 144), g.Q6_K: (256, 210)}
N_LAYERS, WIDTH, FF, EXPERT_FF, EXPERTS, VOCAB = 40, 2048, 11776, 1536, 64, 65536
N_DENSE = 2


def more_bits(i):
    """The layers whose v and down matrices Q4_K_M keeps in Q6_K."""
    return i < N_LAYERS // 8 or i >= 7 * N_LAYERS // 8 or (i - N_LAYERS // 8) % 3 == 2


class Header:
    def __init__(self):
        self.writer = g.Writer()
        self.end = 0

    def tensor(self, name, ne, dtype=g.Q4_K):
        block_len, block_bytes = BLOCK[dtype]
        n = 1
        for length in ne:
            n *= length
        self.end = -(-self.end // 32) * 32
        self.writer.add_tensor(name, ne, dtype, b"", self.end)
        self.end += n // block_len * block_bytes

    def layer(self, i):
        name = f"blk.{i}."
        down = g.Q6_K if more_bits(i) else g.Q4_K
        self.tensor(name + "attn_norm.weight", [WIDTH], g.F32)
        self.tensor(name + "ffn_norm.weight", [WIDTH], g.F32)
        if i % 4 == 2:
            self.tensor(name + "attn_q.weight", [WIDTH, WIDTH])
            self.tensor(name + "attn_k.weight", [WIDTH, 512])
            self.tensor(name + "attn_v.weight", [WIDTH, 512], down)
            self.tensor(name + "attn_output.weight", [WIDTH, WIDTH])
            self.tensor(name + "attn_q_norm.weight", [64], g.F32)
            self.tensor(name + "attn_k_norm.weight", [64], g.F32)
        else:
            self.tensor(name + "shortconv.in_proj.weight", [WIDTH, 3 * WIDTH])
            self.tensor(name + "shortconv.out_proj.weight", [WIDTH, WIDTH])
            self.tensor(name + "shortconv.conv.weight", [3, WIDTH], g.F32)
        if i < N_DENSE:
            self.tensor(name + "ffn_gate.weight", [WIDTH, FF])
            self.tensor(name + "ffn_up.weight", [WIDTH, FF])
            self.tensor(name + "ffn_down.weight", [FF, WIDTH], down)
            return
        self.tensor(name + "ffn_gate_inp.weight", [WIDTH, EXPERTS], g.F32)
        self.tensor(name + "exp_probs_b.bias", [EXPERTS], g.F32)
        self.tensor(name + "ffn_gate_exps.weight", [WIDTH, EXPERT_FF, EXPERTS])
        self.tensor(name + "ffn_up_exps.weight", [WIDTH, EXPERT_FF, EXPERTS])
        self.tensor(name + "ffn_down_exps.weight", [EXPERT_FF, WIDTH, EXPERTS], down)


def write(path):
    """Returns the bytes that all tensors would take."""
    header = Header()
    w = header.writer
    w.add("general.architecture", "str", "lfm2moe")
    w.add("general.name", "str", "LFM2-24B-A2B")
    for key, value in [("block_count", N_LAYERS), ("embedding_length", WIDTH),
                       ("context_length", 128000), ("feed_forward_length", FF),
                       ("expert_feed_forward_length", EXPERT_FF),
                       ("attention.head_count", 32), ("expert_count", EXPERTS),
                       ("expert_used_count", 4), ("leading_dense_block_count", N_DENSE),
                       ("shortconv.l_cache", 3), ("expert_gating_func", 2)]:
        w.add("lfm2moe." + key, "u32", value)
    w.add_array("lfm2moe.attention.head_count_kv", "i32",
                [8 if i % 4 == 2 else 0 for i in range(N_LAYERS)])
    w.add("lfm2moe.attention.layer_norm_rms_epsilon", "f32", 1e-5)
    w.add("lfm2moe.rope.freq_base", "f32", 1e6)
    header.tensor("token_embd.weight", [WIDTH, VOCAB], g.Q6_K)
    header.tensor("token_embd_norm.weight", [WIDTH], g.F32)
    for i in range(N_LAYERS):
        header.layer(i)
    w.write(path)
    return header.end


if __name__ == "__main__":
    write(sys.argv[1])
