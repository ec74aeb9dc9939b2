-- Make the stream of reports anew where its ids lead too far ahead, or where somebody trimmed it.
-- KEYS[1]: the stream. ARGV: the group, how far ids may be ahead (ms), the cap that readers use, entries kept at
-- most, 1 where trimming is looked for. Returns nil, or what was wrong and how many entries were kept.
local key, group, ahead_ms, cap, most = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])

local function fields_of(reply)
  local found = {}
  for i = 1, #reply, 2 do found[reply[i]] = reply[i + 1] end
  return found
end

if redis.call('EXISTS', key) == 0 then return nil end
local stream = fields_of(redis.call('XINFO', 'STREAM', key))
local time = redis.call('TIME')
local latest = stream['last-generated-id']
local why = nil
if tonumber(string.match(latest, '^%d+')) > time[1] * 1000 + ahead_ms then
  why = 'ids_ahead'
elseif ARGV[5] == '1' and stream['entries-added'] and stream['length'] < math.min(stream['entries-added'], cap) then
  why = 'trimmed'
end
if not why then return nil end

local kept, delivered = {}, nil
-- A report has three fields. What has more than 16 is none, and Lua can not pass on any number of them.
local function keep(entries)
  for _, entry in ipairs(entries) do
    if #entry[2] <= 32 then kept[#kept + 1] = entry[2] end
  end
end

for _, reply in ipairs(redis.call('XINFO', 'GROUPS', key)) do
  local found = fields_of(reply)
  if found['name'] == group then delivered = found['last-delivered-id'] end
end
if delivered then
  for _, pending in ipairs(redis.call('XPENDING', key, group, '-', '+', most)) do
    keep(redis.call('XRANGE', key, pending[1], pending[1]))
  end
end
if delivered ~= latest then
  local after = delivered and ('(' .. delivered) or '-'
  keep(redis.call('XRANGE', key, after, '+', 'COUNT', most))
end
-- A full Redis refuses writes: it says so here, before anything is gone.
local refused = redis.pcall('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
if refused['err'] and not string.find(refused['err'], 'BUSYGROUP', 1, true) then return nil end
redis.call('DEL', key)
redis.call('XGROUP', 'CREATE', key, group, '0', 'MKSTREAM')
for _, entry in ipairs(kept) do redis.call('XADD', key, '*', unpack(entry)) end
return {why, #kept}
