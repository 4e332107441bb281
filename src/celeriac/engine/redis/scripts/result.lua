-- Part of other scripts: write results by Celery's rules.

-- How Celery's JSON begins; enough to tell states apart without decoding.
local META, SUCCESS = '{"status": "', '{"status": "SUCCESS"'

-- Store one result unless a SUCCESS is stored, and tell those who watch.
-- id_key: its key, and the channel; ttl: milliseconds, '0' for ever; won: '1' when it is a SUCCESS;
-- mark: key that remembers a SUCCESS whose payload does not show it (compressed, or not JSON).
local function store(id_key, payload, ttl, won, mark)
  local stored
  if ttl == '0' then
    stored = redis.call('SET', id_key, payload, 'NX')
  else
    stored = redis.call('SET', id_key, payload, 'NX', 'PX', ttl)
  end
  if not stored then
    local head = redis.pcall('GETRANGE', id_key, 0, #SUCCESS - 1)
    if type(head) == 'string' then
      if head == SUCCESS then return end
      if string.sub(head, 1, #META) ~= META and redis.call('EXISTS', mark) == 1 then return end
    end
    if ttl == '0' then
      redis.call('SET', id_key, payload)
    else
      redis.call('SET', id_key, payload, 'PX', ttl)
    end
  end
  if won == '1' and string.sub(payload, 1, #SUCCESS) ~= SUCCESS then
    if ttl == '0' then
      redis.call('SET', mark, '1')
    else
      redis.call('SET', mark, '1', 'PX', ttl)
    end
  end
  -- A user without the right to this channel still gets the result stored.
  redis.pcall('PUBLISH', id_key, payload)
end
