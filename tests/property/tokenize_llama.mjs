// node tokenize_llama.mjs MODEL: what tokenize_peer does, done by llama.cpp from npm
// (node-llama-cpp in the folder SL_LLAMA_NPM). Same records in, same lines out.
// model.tokenize without options is llama_tokenize without BOS or EOS.
import {join} from 'node:path';
import {pathToFileURL} from 'node:url';

const entry = join(process.env.SL_LLAMA_NPM, 'node_modules/node-llama-cpp/dist/index.js');
const {getLlama, LlamaLogLevel} = await import(pathToFileURL(entry));
const llama = await getLlama({gpu: false, build: 'never', progressLogs: false,
                              logLevel: LlamaLogLevel.error});
const model = await llama.loadModel({modelPath: process.argv[2], vocabOnly: true, gpuLayers: 0});

const SPECIAL = 2; // SL_TOKENIZER_SPECIAL
const chunks = [];
for await (const chunk of process.stdin)
    chunks.push(chunk);
const input = Buffer.concat(chunks);
const lines = [];
for (let off = 0; off < input.length;) {
    const flags = input.readUInt32LE(off);
    const len = input.readUInt32LE(off + 4);
    const text = input.toString('utf8', off + 8, off + 8 + len);
    lines.push(model.tokenize(text, (flags & SPECIAL) !== 0).join(' '));
    off += 8 + len;
}
process.stdout.write(lines.join('\n') + '\n', () => process.exit(0));
