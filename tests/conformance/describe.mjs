// Lists the suite's cases and judges results by the suite's own rules.
// Arguments: the suite's folder and a file with results. Prints
// { cases: [{ id, group, kind, counted }], ours: { id: [outcome, message] },
//   caches: [{ name, outcomes: { id: outcome } }] }.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

const [suite, resultsFile] = process.argv.slice(2)

async function load (...candidates) {
  const path = candidates.map(file => join(suite, file)).find(existsSync)
  return path && import(pathToFileURL(path))
}

// Each file in the later folder layout or in that of the package of 2022.
const { determineTestResult } = await load('test-engine/lib/results.mjs', 'lib/display.mjs')
const groups = (await load('tests/index.mjs')).default
// The suite's command line runs these cases, but its published tables do not count them.
const more = (await load('tests/surrogate-control.mjs'))?.default
const counted = new Set(groups.map(group => group.id))
const all = more === undefined || counted.has(more.id) ? groups : [...groups, more]

// The third of the three forms in which the suite gives an outcome.
const words = {
  '✅': 'pass', '⛔️': 'fail', '⚠️': 'fail', Y: 'yes', N: 'no', '-': 'untested',
  '🔹': 'setup failed', '⁉️': 'harness failed', '⚪️': 'dependency failed', '↻': 'retried'
}
const outcome = (id, results) => words[determineTestResult(all, id, results)[2]] ?? 'unknown'

const results = JSON.parse(readFileSync(resultsFile, 'utf8'))
const cases = all.flatMap(group => group.tests
  .filter(test => test.browser_only !== true)
  .map(({ id, kind = 'required' }) => ({ id, group: group.id, kind, counted: counted.has(group.id) })))

const index = (await load('results/index.mjs'))?.default ?? []
const caches = index.filter(({ type }) => type !== 'browser').map(({ file, name, version }) => {
  const published = JSON.parse(readFileSync(join(suite, 'results', file), 'utf8'))
  const outcomes = Object.fromEntries(cases.map(({ id }) => [id, outcome(id, published)]))
  return { name: `${name} ${version ?? ''}`.trim(), outcomes }
})
const message = id => Array.isArray(results[id]) ? results[id][1] : ''
const ours = Object.fromEntries(cases.map(({ id }) => [id, [outcome(id, results), message(id)]]))
console.log(JSON.stringify({ cases, ours, caches }))
