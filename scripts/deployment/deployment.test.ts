import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { findTool } from './tools.mjs'

const run = promisify(execFile)
const deploy = fileURLToPath(new URL('../../examples/shop/deploy/', import.meta.url))
const services = [
  'analytics-service',
  'api-gateway',
  'notification-service',
  'order-service',
  'payment-service',
  'product-service',
  'user-service',
]

// Whatever a manifest holds is looked at field by field.
// biome-ignore lint/suspicious/noExplicitAny: a test reads whatever is there
type Resource = any

/** The path of a program, or a skip that says which one is missing and how to get it. */
function needed(name: string, skip: (note: string) => void): string {
  const path = findTool(name)
  if (path !== undefined) return path

  const note = `there is no ${name} on this machine; \`node scripts/deployment/tools.mjs\` gets it from Debian's packages`
  console.warn(`\n  SKIPPED: ${note}\n`)
  skip(note)
  return ''
}

async function build(kubectl: string, folder: string): Promise<Resource[]> {
  const { stdout } = await run(kubectl, ['kustomize', join(deploy, folder)], { maxBuffer: 16 * 1024 * 1024 })
  return parseAllDocuments(stdout).map((document) => document.toJS())
}

const of = (resources: Resource[], kind: string): Resource[] => resources.filter((resource) => resource.kind === kind)
const podOf = (deployment: Resource): Resource => deployment.spec.template.spec

describe('Kubernetes', () => {
  describe.each(['kubernetes/overlays/local', 'kubernetes/overlays/production', 'kong/database', 'kong/db-less'])(
    '%s',
    (folder) => {
      test('builds, and each resource is what the API knows', async ({ skip }) => {
        const resources = await build(needed('kubectl', skip), folder)

        expect(resources.length).toBeGreaterThan(2)
        for (const resource of resources) await validate(resource)
      }, 60_000)
    },
  )

  test('each service has a Deployment of three with probes and limits, and a Service', async ({ skip }) => {
    const resources = await build(needed('kubectl', skip), 'kubernetes/overlays/production')
    const deployments = of(resources, 'Deployment').filter(({ metadata }) => services.includes(metadata.name))

    expect(deployments.map(({ metadata }) => metadata.name).sort()).toEqual(services)
    for (const deployment of deployments) {
      const [container] = podOf(deployment).containers
      expect(deployment.spec.replicas).toBe(3)
      expect(container).toMatchObject({
        startupProbe: { httpGet: { path: '/health/live' } },
        livenessProbe: { httpGet: { path: '/health/live' } },
        readinessProbe: { httpGet: { path: '/health/ready' } },
        resources: {
          requests: { cpu: expect.any(String), memory: expect.any(String) },
          limits: { cpu: expect.any(String), memory: expect.any(String) },
        },
        securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true },
      })
      expect(podOf(deployment).securityContext).toMatchObject({ runAsNonRoot: true })
      expect(of(resources, 'Service').map(({ metadata }) => metadata.name)).toContain(deployment.metadata.name)
    }
  })

  test('behind the ingress the gateway counts clients, not the ingress', async ({ skip }) => {
    const resources = await build(needed('kubectl', skip), 'kubernetes/overlays/production')
    const settings = of(resources, 'ConfigMap').find(({ metadata }) => metadata.name === 'shop')

    expect(settings?.data).toMatchObject({ TRUSTED_PROXIES: '1', DISCOVERY: 'dns' })
  })

  test('selects what it deploys, and names ports that are there', async ({ skip }) => {
    const resources = await build(needed('kubectl', skip), 'kubernetes/overlays/production')
    const pods = of(resources, 'Deployment').map(({ spec }) => spec.template)

    for (const service of of(resources, 'Service')) {
      const selected = pods.filter(({ metadata }) =>
        Object.entries(service.spec.selector).every(([label, value]) => metadata.labels[label] === value),
      )
      expect(selected, service.metadata.name).toHaveLength(1)
      const names = selected[0].spec.containers.flatMap(({ ports }: Resource) =>
        ports.map(({ name }: Resource) => name),
      )
      for (const port of service.spec.ports) expect(names, service.metadata.name).toContain(port.targetPort)
    }
  })

  test.each(['kubernetes/overlays/production', 'kong/database', 'kong/db-less'])(
    '%s holds no secret, only names of them',
    async (folder) => {
      const kubectl = findTool('kubectl')
      if (kubectl === undefined) return
      const resources = await build(kubectl, folder)

      expect(of(resources, 'Secret')).toEqual([])
      for (const workload of resources.filter(({ spec }) => spec?.template?.spec?.containers)) {
        for (const { env = [] } of [...podOf(workload).containers, ...(podOf(workload).initContainers ?? [])]) {
          for (const { name, value } of env) {
            if (/PASSWORD|TOKEN|SECRET|DATABASE_URL|AMQP_URL|REDIS_URL/.test(name)) expect(value, name).toBeUndefined()
          }
        }
      }
    },
  )

  describe.each(['kong/database', 'kong/db-less'])('beside the shop, %s', (folder) => {
    test('lets everybody at its proxy, and nobody but Kong at its admin port and its database', async ({ skip }) => {
      const kubectl = needed('kubectl', skip)
      const resources = [...(await build(kubectl, 'kubernetes/overlays/production')), ...(await build(kubectl, folder))]
      const policies = of(resources, 'NetworkPolicy')
      const pods = resources.flatMap(({ spec }) => spec?.template?.metadata?.labels ?? [])
      const reach = (name: string, port: number) => {
        const target = { 'app.kubernetes.io/name': name }
        return pods.filter((pod) => admits(policies, target, pod, port)).map((pod) => pod['app.kubernetes.io/name'])
      }

      expect(reach('kong', 8001)).toEqual(['kong'])
      expect(reach('kong', 8000)).toEqual(pods.map((pod) => pod['app.kubernetes.io/name']))
      expect(admits(policies, { 'app.kubernetes.io/name': 'kong' }, undefined, 8000)).toBe(true)
      if (folder === 'kong/database') expect(reach('kong-database', 5432)).toEqual(['kong'])
      // The services themselves are open to one another, and closed to everybody else.
      expect(reach('user-service', 3000)).toEqual(expect.arrayContaining(['kong', 'order-service', 'api-gateway']))
      expect(admits(policies, { 'app.kubernetes.io/name': 'user-service' }, undefined, 3000)).toBe(false)
    })

    test('counts clients by their own addresses, not by those of the nodes they came in by', async ({ skip }) => {
      const resources = await build(needed('kubectl', skip), folder)
      const open = of(resources, 'Service').filter(({ spec }) => spec.type === 'LoadBalancer')

      expect(open.map(({ metadata }) => metadata.name)).toEqual(['kong'])
      for (const { spec } of open) expect(spec.externalTrafficPolicy).toBe('Local')
    })
  })

  test('each secret that a manifest names is in the README, with its keys', async ({ skip }) => {
    const kubectl = needed('kubectl', skip)
    const folders = ['kubernetes/overlays/production', 'kong/database', 'kong/db-less']
    const resources = (await Promise.all(folders.map((folder) => build(kubectl, folder)))).flat()
    const table = (await readFile(join(deploy, 'README.md'), 'utf8')).split('\n')
    const named = [
      ...resources
        .flatMap(({ spec }) => [
          ...(spec?.template?.spec?.initContainers ?? []),
          ...(spec?.template?.spec?.containers ?? []),
        ])
        .flatMap(({ env = [] }) => env.flatMap(({ valueFrom }: Resource) => valueFrom?.secretKeyRef ?? [])),
      ...of(resources, 'Ingress')
        .flatMap(({ spec }) => spec.tls)
        .flatMap(({ secretName: name }) => [
          { name, key: 'tls.crt' },
          { name, key: 'tls.key' },
        ]),
    ]

    expect(named.length).toBeGreaterThan(10)
    for (const { name, key } of named) {
      // One row stands for the databases of all services.
      const shown = services.includes(name.replace('-database', '')) ? '-service-database`' : `\`${name}\``
      const row = table.find((line) => line.startsWith('|') && line.includes(shown))
      expect(row, name).toContain(`\`${key}\``)
    }
  })

  test('production takes its images from a registry, by a tag that does not move', async ({ skip }) => {
    const resources = await build(needed('kubectl', skip), 'kubernetes/overlays/production')
    const images = of(resources, 'Deployment')
      .filter(({ metadata }) => services.includes(metadata.name))
      .map((deployment) => podOf(deployment).containers[0].image)

    expect(images.sort()).toEqual(services.map((service) => `registry.example/shop/${service}:1`))
  })

  test('a resource with a mistake is refused', async () => {
    const wrong = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'x' }, spec: { replicas: 'three' } }

    await expect(validate(wrong)).rejects.toThrow(/replicas|selector/)
  })
})

type Labels = Readonly<Record<string, string>>

/**
 * Whether the policies of a namespace let a pod of it, or somebody from outside, at a port of `target`. What one of them
 * lets in is in, whatever the others say; only a pod that none of them selects is open to all.
 */
function admits(policies: Resource[], target: Labels, source: Labels | undefined, port: number): boolean {
  const about = policies.filter(({ spec }) => selects(spec.podSelector, target))
  const rules = about.flatMap(({ spec }) => spec.ingress ?? [])
  if (about.length === 0) return true

  return rules.some(
    ({ from, ports }) =>
      (from === undefined || from.some(({ podSelector }: Resource) => source && selects(podSelector, source))) &&
      (ports === undefined || ports.some((one: Resource) => one.port === port)),
  )
}

function selects({ matchLabels = {}, matchExpressions = [] }: Resource, labels: Labels): boolean {
  return (
    Object.entries(matchLabels).every(([label, value]) => labels[label] === value) &&
    matchExpressions.every(({ key, operator, values }: Resource) => {
      if (operator !== 'In' && operator !== 'NotIn') throw new Error(`${operator} is not understood here`)
      return values.includes(labels[key]) === (operator === 'In')
    })
  )
}

/** By the schemas that Kubernetes publishes, as kubernetes-models has them. */
async function validate(resource: Resource): Promise<void> {
  const { apiVersion, kind } = resource
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['', apiVersion]
  const path = `kubernetes-models/${group === '' ? '' : `${group}/`}${version}/${kind}`
  const { [kind]: Model } = await import(/* @vite-ignore */ path)
  const model = new Model(resource)
  try {
    model.validate()
  } catch (error) {
    throw new Error(`${kind} ${resource.metadata?.name}: ${(error as Error).message}`)
  }
}

describe('Prometheus', () => {
  const prometheus = join(deploy, 'prometheus')

  test.each(['prometheus.yaml', 'kubernetes.yaml'])('%s is valid, with its rules', async (file) => {
    const promtool = findTool('promtool')
    if (promtool === undefined) return console.warn(`\n  SKIPPED: no promtool to check ${file} with\n`)
    await run(promtool, ['check', 'config', join(prometheus, file)])
  })

  test('the alerts fire when they should, and only then', async ({ skip }) => {
    await run(needed('promtool', skip), ['test', 'rules', join(prometheus, 'rules.test.yaml')])
  })

  test('asks for metrics that are made somewhere, and for recorded ones that are recorded', async () => {
    const { groups } = parse(await readFile(join(prometheus, 'rules.yaml'), 'utf8'))
    const { rules } = groups[0]
    const recorded = rules.map(({ record }: Resource) => record)
    const asked = new Set<string>(
      rules.flatMap(({ expr }: Resource) =>
        expr.replace(/\{[^}]*\}|\b(by|on|without) \([^)]*\)|\b\w+ ?\(/g, '(').match(/\b[a-z]\w*(?:[_:]\w+)+\b|\bup\b/g),
      ),
    )
    const made = await sources()

    expect(asked.size).toBeGreaterThan(5)
    for (const name of asked) {
      if (name === 'up') continue
      if (name.includes(':')) expect(recorded).toContain(name)
      else expect(made.includes(`'${name.replace(/_(bucket|count|sum)$/, '')}'`), name).toBe(true)
    }
  })

  test('each service is missed when it has no address', async () => {
    const { groups } = parse(await readFile(join(prometheus, 'rules.yaml'), 'utf8'))
    const { expr } = groups[0].rules.find(({ alert }: Resource) => alert === 'ServiceGone')

    expect([...expr.matchAll(/absent\(up\{job="shop", service="([^"]+)"\}\)/g)].map(([, name]) => name).sort()).toEqual(
      services,
    )
  })

  test('scrapes each service, in both worlds', async () => {
    for (const file of ['prometheus.yaml', 'kubernetes.yaml']) {
      const { scrape_configs } = parse(await readFile(join(prometheus, file), 'utf8'))
      const names = scrape_configs[0].dns_sd_configs[0].names.map((name: string) => name.replace(/(-pods)?\..*/, ''))
      expect(names.sort()).toEqual(services)
    }
  })
})

/** All that the packages and the shop are written in. */
async function sources(): Promise<string> {
  const root = join(deploy, '../../..')
  const folders = ['packages', 'examples/shop', 'examples/shop/services'].map((name) => join(root, name))
  const inside = await Promise.all(
    folders.map(async (folder) => (await readdir(folder)).map((name) => join(folder, name, 'src'))),
  )
  const files = await Promise.all(
    inside
      .flat()
      .filter((folder) => existsSync(folder))
      .map(async (folder) => (await readdir(folder, { recursive: true })).map((name) => join(folder, name))),
  )
  const code = files.flat().filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'))
  return (await Promise.all(code.map((name) => readFile(name, 'utf8')))).join('')
}

describe('the collector', () => {
  test('every pipeline is made of parts that are configured, and every part is in use', async () => {
    const { service, ...parts } = parse(await readFile(join(deploy, 'otel/collector.yaml'), 'utf8'))

    expect(Object.keys(parts).sort()).toEqual(['exporters', 'extensions', 'processors', 'receivers'])
    for (const kind of ['receivers', 'processors', 'exporters'] as const) {
      const used = Object.values<Resource>(service.pipelines).flatMap((pipeline) => pipeline[kind])
      expect(used.sort(), kind).toEqual(Object.keys(parts[kind]).sort())
    }
    expect(service.extensions).toEqual(Object.keys(parts.extensions))
    expect(service.pipelines.traces.processors[0]).toBe('memory_limiter')
  })

  test('takes what the services send', async () => {
    const { receivers } = parse(await readFile(join(deploy, 'otel/collector.yaml'), 'utf8'))
    const { data } = parse(await readFile(join(deploy, 'kubernetes/base/settings.yaml'), 'utf8'))

    expect(data.OTEL_EXPORTER_OTLP_ENDPOINT.endsWith(`:${receivers.otlp.protocols.http.endpoint.split(':')[1]}`)).toBe(
      true,
    )
  })
})

describe('Compose', () => {
  test('runs each service from its own Dockerfile, and opens ports on loopback only', async () => {
    const compose = parse(await readFile(join(deploy, 'compose/compose.yaml'), 'utf8'), { merge: true })

    for (const service of services) {
      const { build: made, read_only } = compose.services[service]
      expect(made.dockerfile).toBe(`examples/shop/services/${service}/Dockerfile`)
      expect(read_only).toBe(true)
    }
    const ports = Object.values<Resource>(compose.services).flatMap(({ ports: open = [] }) => open)
    expect(ports.length).toBeGreaterThan(0)
    for (const port of ports) expect(port).toMatch(/^127\.0\.0\.1:/)
    expect(JSON.stringify(compose)).not.toMatch(/PASSWORD|TOKEN/)
  })

  test('has its secrets made on the machine, each for itself', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'shop-secrets-'))
    try {
      await run(process.execPath, [join(deploy, 'compose/secrets.mjs'), join(folder, 'a')])
      await run(process.execPath, [join(deploy, 'compose/secrets.mjs'), join(folder, 'b')])
      const compose = parse(await readFile(join(deploy, 'compose/compose.yaml'), 'utf8'), { merge: true })
      const named = Object.values<Resource>(compose.services).flatMap(({ env_file = [] }) => env_file)

      const files = await readdir(join(folder, 'a'))
      expect([...new Set(named.map((file: string) => file.replace('.secrets/', '')))].sort()).toEqual(
        files.filter((file) => file.endsWith('.env')).sort(),
      )
      const [a, b] = await Promise.all(['a', 'b'].map((name) => readFile(join(folder, name, 'shop.env'), 'utf8')))
      expect(a).toMatch(/^OPS_TOKEN=.{32}$/m)
      expect(a).not.toBe(b)
    } finally {
      await rm(folder, { recursive: true })
    }
  })
})

describe('Dockerfiles', () => {
  test('nothing that git does not see gets into an image: no secret, no data, nothing built for another machine', async () => {
    const root = join(deploy, '../../..')
    const [unseen, unsent] = await Promise.all(
      ['.gitignore', '.dockerignore'].map(async (name) => {
        const lines = (await readFile(join(root, name), 'utf8')).split('\n')
        return lines.filter((line) => line !== '' && !line.startsWith('#'))
      }),
    )

    expect(unseen).toContain('.secrets/')
    expect(unsent).toEqual(expect.arrayContaining((unseen ?? []).map((line) => `**/${line.replace(/\/$/, '')}`)))
  })

  test.each(services)('%s is built in stages, and runs as nobody who may do much', async (service) => {
    const text = await readFile(join(deploy, `../services/${service}/Dockerfile`), 'utf8')
    const [, last = ''] = text.split(/^FROM .*$/m).slice(1)

    expect(text.match(/^FROM /gm)).toHaveLength(2)
    expect(last).toMatch(/^USER node$/m)
    expect(last).toMatch(/^HEALTHCHECK /m)
    expect(text).toContain(`pack.mjs ${service} /packed`)
    expect(last).toContain(`CMD ["node", "service.mjs", "${service}"]`)
  })
})

describe('the packed service, which is what an image holds', () => {
  let folder: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'shop-packed-'))
  })
  afterAll(() => rm(folder, { recursive: true }))

  test.each(services)(
    '%s starts from its folder alone and says what it needs',
    async (service) => {
      const out = join(folder, service)
      await run(process.execPath, [join(deploy, 'pack.mjs'), service, out])

      // No server answers there: what is loaded by then is the whole program with all that it imports.
      const env = {
        PATH: process.env['PATH'] ?? '',
        DATABASE_URL: 'postgres://nobody@127.0.0.1:1/none',
        AMQP_URL: 'amqp://127.0.0.1:1',
        REDIS_URL: 'redis://127.0.0.1:1',
        CONSUL_HTTP_ADDR: '127.0.0.1:1',
        LOG_LEVEL: 'silent',
      }
      const failure = await run(process.execPath, ['service.mjs', service], { cwd: out, env, timeout: 20_000 }).then(
        () => undefined,
        (error: { code: number; stderr: string }) => error,
      )
      expect(failure?.stderr).not.toMatch(/ERR_MODULE_NOT_FOUND|Cannot find|Dynamic require|ENOENT/)
      expect(failure?.stderr).toMatch(/ECONNREFUSED|127\.0\.0\.1:1/)
      const others = services.filter((other) => other !== service && other !== 'api-gateway')
      const code = (
        await Promise.all((await readdir(join(out, 'dist'))).map((file) => readFile(join(out, 'dist', file), 'utf8')))
      ).join('')
      for (const other of others) expect(code).not.toContain(`// services/${other}/`)
    },
    60_000,
  )
})
