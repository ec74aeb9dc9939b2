-- Gates, rate and calls in flight of one lane, in one step.
--
-- KEYS: the origin's gate, the client's gate, the rate, the calls in flight. All have the origin as their hash tag.
-- ARGV: 1, 2 the gates as whoever decided has seen them ('' = none)    3, 4 the gates as they shall be
--       5, 6 how long to keep them, ms    7 gap between calls, us (0: no rate)    8 burst, us    9 most in flight
--       10 time a call may take, ms    11 time to keep the calls in flight, ms    12 calls granted whatever the rate
--       13... ids of the attempts, those granted whatever the rate first
-- Returns {granted, wait in ms}, or {-1, 0, origin's gate, client's gate} where a gate is not as it was seen: nothing
-- has changed then. The rate is GCRA: one number, the time at which the budget is whole again.
local origin = redis.call('GET', KEYS[1]) or ''
local client = redis.call('GET', KEYS[2]) or ''
if origin ~= ARGV[1] or client ~= ARGV[2] then return {-1, 0, origin, client} end
for i = 1, 2 do
  local wanted = ARGV[2 + i]
  if wanted ~= ARGV[i] then
    if wanted == '' then redis.call('DEL', KEYS[i]) else redis.call('SET', KEYS[i], wanted, 'PX', ARGV[4 + i]) end
  end
end
local asked = #ARGV - 12
if asked == 0 then return {0, 0} end
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local certain = tonumber(ARGV[12])
redis.call('ZREMRANGEBYSCORE', KEYS[4], '-inf', now / 1000)
local free = tonumber(ARGV[9]) - redis.call('ZCARD', KEYS[4])
local granted = math.max(math.min(asked, free), certain)
local wait = 0
local gap = tonumber(ARGV[7])
if gap > 0 and granted > 0 then
  local burst = tonumber(ARGV[8])
  local whole = math.max(tonumber(redis.call('GET', KEYS[3]) or '0'), now)
  granted = math.max(math.min(granted, math.floor((now + burst - whole) / gap)), certain)
  whole = whole + granted * gap
  if granted > 0 then
    redis.call('SET', KEYS[3], string.format('%d', whole), 'PX', math.ceil((whole - now) / 1000) + 1000)
  end
  wait = math.max(0, math.ceil((whole + gap - burst - now) / 1000))
end
local ends = string.format('%d', now / 1000 + tonumber(ARGV[10]))
for i = 1, granted do redis.call('ZADD', KEYS[4], ends, ARGV[12 + i]) end
if granted > 0 then redis.call('PEXPIRE', KEYS[4], ARGV[11]) end
return {granted, wait}
