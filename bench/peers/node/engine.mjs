// aws-local-stepfunctions, in process: one execution after the other, from the bytes of a message to the bytes of its output.

import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { StateMachine } from 'aws-local-stepfunctions';

const flag = { type: 'string' };
const { values: flags } = parseArgs({
  options: { messages: flag, outputs: flag, count: flag, definition: flag, 'warm-s': flag, 'measure-s': flag },
});
const lines = readFileSync(flags.messages, 'utf8').split('\n').filter(Boolean).slice(0, Number(flags.count));
const messages = lines.map((line) => Buffer.from(line));
const machine = new StateMachine(JSON.parse(readFileSync(flags.definition, 'utf8')));

async function execute(number) {
  const options = { context: { Execution: { Name: `heartbeats-0-${number}` } } };
  try {
    return Buffer.from(JSON.stringify(await machine.run(JSON.parse(messages[number]), options).result));
  } catch (error) {
    if (error.name !== 'ExecutionError') throw error;
    return Buffer.from(JSON.stringify({ Error: error.cause.name, Cause: error.cause.message }));
  }
}

async function pass(keep) {
  const start = process.hrtime.bigint();
  for (let number = 0; number < messages.length; number++) {
    const output = await execute(number);
    keep?.push(output);
  }
  return Number(process.hrtime.bigint() - start) / 1e9;
}

async function passesFor(seconds) {
  const times = [];
  let sum = 0;
  do {
    times.push(await pass());
    sum += times.at(-1);
  } while (sum < seconds);
  return times;
}

const outputs = [];
await pass(outputs);
writeFileSync(flags.outputs, outputs.map((output) => `${output}\n`).join(''));
await passesFor(Number(flags['warm-s']));
const before = process.cpuUsage();
const times = await passesFor(Number(flags['measure-s']));
const cpu = process.cpuUsage(before);
const { version } = JSON.parse(readFileSync(new URL('node_modules/aws-local-stepfunctions/package.json', import.meta.url), 'utf8'));
console.log(JSON.stringify({ version: `${version}, Node ${process.versions.node}`, executions_per_pass: messages.length, pass_s: times, cpu_s: (cpu.user + cpu.system) / 1e6 }));
