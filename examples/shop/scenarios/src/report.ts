import type { Verdict } from './judge.js'
import type { Report } from './run.js'
import type { FaultOrder, Load } from './scenario.js'

const width = 96

/** What happened, for people. */
export function asTable({ scenario, meanwhile, afterwards }: Report): string {
  const { name, teaches, faults, load, strike } = scenario
  const broken = [...faults, ...(strike === undefined ? [] : [strike])].map(faultText)
  const verdicts = [...meanwhile, ...afterwards]
  const column = Math.max(...verdicts.map(({ expected }) => expected.length))
  const lines = (title: string, of: readonly Verdict[]) => [
    '',
    title,
    ...of.map(({ expected, seen, holds }) => `  ${holds ? '✔' : '✘'} ${expected.padEnd(column)}   ${seen}`),
  ]

  return [
    name,
    ...wrapped(teaches).map((line) => `  ${line}`),
    '',
    `  broken   ${broken.join('; ') || 'nothing'}`,
    `  load     ${loadText(load)}`,
    ...lines('Meanwhile', meanwhile),
    ...lines(faults.length > 0 || strike !== undefined ? 'Once it is mended' : 'In the end', afterwards),
  ].join('\n')
}

function faultText({ service, route, latency, errors, drop, kill }: FaultOrder): string {
  const what = [
    latency !== undefined && `${latency} ms late`,
    errors !== undefined && `fails ${errors * 100} %`,
    drop !== undefined && `drops ${drop * 100} %`,
    kill === true && 'is killed',
  ].filter((text) => text !== false)
  return `${service}${route === undefined ? '' : ` ${route}`} ${what.join(', ')}`
}

function loadText(load: Load): string {
  if ('reads' in load) return `${load.reads} × GET ${load.path}`

  const { orders, paymentMethod, quantity = 1 } = load
  return `${orders} × an order of ${quantity}, ${paymentMethod}`
}

function wrapped(text: string): string[] {
  return text.match(new RegExp(`.{1,${width}}(?:\\s|$)`, 'g')) ?? [text]
}
