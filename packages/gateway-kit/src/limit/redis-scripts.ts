/**
 * One decision, one script. Redis runs nothing else meanwhile, so what is read is still true when it is written, and
 * its own clock is asked, so that no client's clock matters. What is replicated are the effects: a SET with an expiry
 * in absolute time. Redis 5 or later is needed, before that a script that asks for the time could not write.
 *
 * A denied request writes nothing, with one exception: when the clock of the server went back (a failover to a machine
 * whose clock is behind), what is kept is dated anew, or it would stand still until the clock is where it was.
 *
 * Each script returns strings where fractions matter: a number in a reply is cut to an integer.
 */
const prelude = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local cost = tonumber(ARGV[1])
local kept = redis.call('GET', KEYS[1])

local function exact(number) return string.format('%.17g', number) end

-- The server counts lifetimes from the whole millisecond at which the script began: a few more, so that none is short.
local function keep(state, ms)
  redis.call('SET', KEYS[1], state, 'PX', string.format('%.0f', math.min(math.ceil(ms) + 10, 1e15)))
end
`

/** ARGV: cost, burst, interval in ms. Keeps the level and the time in µs; returns allowed and the level. */
export const gcraScript: string = `${prelude}
local burst = tonumber(ARGV[2])
local interval = tonumber(ARGV[3])

local level, at = 0, now
if kept then
  local a, b = string.match(kept, '^(%S+) (%S+)$')
  level, at = tonumber(a), tonumber(b)
end

level = math.max(0, level - math.max(0, now - at) / 1000 / interval)
local allowed = level + cost <= burst + 1e-6
if allowed then level = level + cost end
if (allowed and cost > 0) or at > now then
  keep(exact(level) .. ' ' .. exact(now), level * interval)
end

return { allowed and 1 or 0, exact(level) }
`

/**
 * ARGV: cost, limit, window in ms. Keeps the number of the window and what it and the one before counted; returns
 * allowed, both counts, and the ms since the window began.
 */
export const slidingWindowScript: string = `${prelude}
local limit = tonumber(ARGV[2])
local window = tonumber(ARGV[3]) * 1000
local index = math.floor(now / window)
local elapsed = now - index * window

local current, previous, at = 0, 0, index
if kept then
  local a, b, c = string.match(kept, '^(%S+) (%S+) (%S+)$')
  at, current, previous = tonumber(a), tonumber(b), tonumber(c)
end
if at == index - 1 then
  current, previous = 0, current
elseif at < index then
  current, previous = 0, 0
end

local allowed = current + previous * (1 - elapsed / window) + cost <= limit + 1e-9
if allowed then current = current + cost end
if (allowed and cost > 0) or at > index then
  keep(exact(index) .. ' ' .. exact(current) .. ' ' .. exact(previous), (2 * window - elapsed) / 1000)
end

return { allowed and 1 or 0, exact(current), exact(previous), exact(elapsed / 1000) }
`
