import { execFile } from 'node:child_process'
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

  test('a resource with a mistake is refused', async () => {
    const wrong = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'x' }, spec: { replicas: 'three' } }

    await expect(validate(wrong)).rejects.toThrow(/replicas|selector/)
  })
})

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

  test('scrapes each service, in both worlds', async () => {
    for (const file of ['prometheus.yaml', 'kubernetes.yaml']) {
      const { scrape_configs } = parse(await readFile(join(prometheus, file), 'utf8'))
      const names = scrape_configs[0].dns_sd_configs[0].names.map((name: string) => name.replace(/(-pods)?\..*/, ''))
      expect(names.sort()).toEqual(services)
    }
  })
})

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
